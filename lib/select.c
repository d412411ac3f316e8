#include "select.h"
#include "string.h"

/* Nine digits at most, so that the value never wraps. */
static int number(const char **text, u32 *value)
{
        const char *t = *text;

        for (*value = 0; *t >= '0' && *t <= '9'; t++) {
                if (t - *text >= 9)
                        return -1;
                *value = *value * 10 + (u32)(*t - '0');
        }
        if (t == *text)
                return -1;
        *text = t;
        return 0;
}

int select_next(const char **text, struct range *range)
{
        if (!**text || **text == ' ')
                return 0;
        if (number(text, &range->first))
                return -1;
        range->last = range->first;
        if (**text == '-') {
                ++*text;
                if (number(text, &range->last) || range->last < range->first)
                        return -1;
        }
        if (**text == ',') {
                ++*text;
                if (!**text || **text == ' ')
                        return -1;
        } else if (**text && **text != ' ') {
                return -1;
        }
        return 1;
}

const char *parameter(const char *cmdline, const char *key)
{
        const char *found = NULL;
        size_t n = strlen(key);

        while (cmdline && *cmdline) {
                if (!strncmp(cmdline, key, n) && cmdline[n] == '=')
                        found = cmdline + n + 1;
                while (*cmdline && *cmdline != ' ')
                        cmdline++;
                while (*cmdline == ' ')
                        cmdline++;
        }
        return found;
}

u32 parameter_number(const char *text, u32 otherwise)
{
        u32 value;

        return text && !number(&text, &value) ? value : otherwise;
}
