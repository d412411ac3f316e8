#include "fmt.h"

struct out {
        char *buf;
        size_t size, len;
};

static void put(struct out *o, char c)
{
        if (o->len + 1 < o->size)
                o->buf[o->len] = c;
        o->len++;
}

static void put_number(struct out *o, u64 value, unsigned base, bool negative,
                       unsigned width, bool zeros)
{
        char digits[24];
        unsigned n = 0;

        if (base == 16) {
                do {
                        digits[n++] = "0123456789abcdef"[value & 15];
                } while (value >>= 4);
        } else {
                /*
                 * Decimal in two steps of 32-bit division each: a 32-bit build
                 * has no 64-bit division without the compiler's library.
                 */
                u32 high = (u32)(value >> 32), low = (u32)value;

                do {
                        u32 rest = high % 10;
                        u32 middle = rest << 16 | low >> 16;
                        u32 tail = middle % 10 << 16 | (low & 0xffff);

                        digits[n++] = (char)('0' + tail % 10);
                        high /= 10;
                        low = middle / 10 << 16 | tail / 10;
                } while (high || low);
        }
        if (negative && zeros)
                put(o, '-');
        for (unsigned i = n + negative; i < width; i++)
                put(o, zeros ? '0' : ' ');
        if (negative && !zeros)
                put(o, '-');
        while (n)
                put(o, digits[--n]);
}

int vfmt(char *buf, size_t size, const char *format, va_list args)
{
        struct out o = { buf, size, 0 };

        for (; *format; format++) {
                const char *start = format;
                unsigned width = 0, longs = 0;
                bool zeros = false;

                if (*format != '%') {
                        put(&o, *format);
                        continue;
                }
                format++;
                if (*format == '0') {
                        zeros = true;
                        format++;
                }
                while (*format >= '0' && *format <= '9')
                        width = width * 10 + (unsigned)(*format++ - '0');
                while (*format == 'l') {
                        longs++;
                        format++;
                }
                switch (*format) {
                case 's': {
                        const char *s = va_arg(args, const char *);
                        size_t n = 0;

                        for (s = s ? s : "(null)"; s[n]; n++)
                                put(&o, s[n]);
                        for (; n < width; n++)
                                put(&o, ' ');
                        break;
                }
                case 'c':
                        put(&o, (char)va_arg(args, int));
                        break;
                case '%':
                        put(&o, '%');
                        break;
                case 'd': {
                        s64 v = longs > 1 ? va_arg(args, long long)
                              : longs ? va_arg(args, long) : va_arg(args, int);

                        put_number(&o, v < 0 ? -(u64)v : (u64)v, 10, v < 0,
                                   width, zeros);
                        break;
                }
                case 'u':
                case 'x': {
                        u64 v = longs > 1 ? va_arg(args, unsigned long long)
                              : longs ? va_arg(args, unsigned long)
                              : va_arg(args, unsigned);

                        put_number(&o, v, *format == 'x' ? 16 : 10, false,
                                   width, zeros);
                        break;
                }
                default:
                        for (; start < format; start++)
                                put(&o, *start);
                        if (!*format)
                                goto end;
                        put(&o, *format);
                }
        }
end:
        if (size)
                buf[o.len < size ? o.len : size - 1] = 0;
        return (int)o.len;
}

int fmt(char *buf, size_t size, const char *format, ...)
{
        va_list args;
        int n;

        va_start(args, format);
        n = vfmt(buf, size, format, args);
        va_end(args);
        return n;
}

struct text *text_add(struct text *t, const char *format, ...)
{
        va_list args;
        int n;

        va_start(args, format);
        n = vfmt(t->buf + t->len, t->size - t->len, format, args);
        va_end(args);
        t->len += (size_t)n < t->size - t->len ? (size_t)n
                                               : t->size - t->len - 1;
        return t;
}
