/* Text formatting without the C library. */
#ifndef LIB_FMT_H
#define LIB_FMT_H

#include <stdarg.h>
#include "types.h"

/*
 * As snprintf: writes at most @size bytes with the NUL, returns the length that
 * the whole text has. Understands %s %c %% and d u x with the lengths l and ll
 * and a width, zero-padded or not. Anything else is copied as it stands.
 */
__attribute__((format(printf, 3, 4)))
int fmt(char *buf, size_t size, const char *format, ...);
int vfmt(char *buf, size_t size, const char *format, va_list args);

/*
 * A text that is built piece by piece in a fixed buffer; what does not fit is
 * dropped. text_add returns its argument.
 */
struct text {
        char *buf;
        size_t size, len;
};

#define TEXT(array) { .buf = (array), .size = sizeof(array), .len = 0 }

__attribute__((format(printf, 2, 3)))
struct text *text_add(struct text *t, const char *format, ...);

#endif
