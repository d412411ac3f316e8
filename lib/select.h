/* Selections of cases: "0-4,9". */
#ifndef LIB_SELECT_H
#define LIB_SELECT_H

#include "types.h"

/* One run of a selection; both ends are included. */
struct range {
        u32 first, last;
};

/*
 * Takes the next range from *text and moves *text behind it and its comma. At
 * the end of the selection (NUL or space) returns 0; a malformed one: -1.
 */
int select_next(const char **text, struct range *range);

/*
 * The value of the word KEY=VALUE of a command line (up to the next space or
 * NUL), or NULL where there is none. The last one counts.
 */
const char *parameter(const char *cmdline, const char *key);

/* The decimal number at @text, or @otherwise where @text is NULL or no number. */
u32 parameter_number(const char *text, u32 otherwise);

#endif
