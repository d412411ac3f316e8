#include "cmdline.h"
#include "memory.h"

static char copy[CMDLINE_SIZE] NOINIT;

void cmdline_init(const char *text)
{
        size_t n = 0;

        for (; text && text[n] && n < CMDLINE_SIZE - 1; n++)
                copy[n] = text[n];
        copy[n] = '\0';
}

const char *cmdline(void)
{
        return copy;
}
