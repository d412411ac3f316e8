#include "string.h"

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
        u8 *t = to;
        const u8 *f = from;

        while (size--)
                *t++ = *f++;
        return to;
}

void *memmove(void *to, const void *from, size_t size)
{
        u8 *t = to;
        const u8 *f = from;

        if (t <= f)
                return memcpy(to, from, size);
        while (size--)
                t[size] = f[size];
        return to;
}

void *memset(void *to, int byte, size_t size)
{
        u8 *t = to;

        while (size--)
                *t++ = (u8)byte;
        return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
        const u8 *x = a, *y = b;

        for (; size; size--, x++, y++)
                if (*x != *y)
                        return *x - *y;
        return 0;
}

size_t strlen(const char *text)
{
        size_t n = 0;

        while (text[n])
                n++;
        return n;
}

int strncmp(const char *a, const char *b, size_t size)
{
        for (; size; size--, a++, b++)
                if (*a != *b || !*a)
                        return (u8)*a - (u8)*b;
        return 0;
}

int strcmp(const char *a, const char *b)
{
        return strncmp(a, b, SIZE_MAX);
}

bool list_has(const char *list, const char *word)
{
        size_t n = strlen(word);

        while (list && *list) {
                size_t len = 0;

                while (list[len] && list[len] != ' ')
                        len++;
                if (len == n && len && !strncmp(list, word, n))
                        return true;
                list += len;
                while (*list == ' ')
                        list++;
        }
        return false;
}
