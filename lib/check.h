/*
 * Checks. Each returns true if it held; a case goes on or returns as it likes,
 * and fails if any check failed. A case that checked nothing is an error.
 */
#ifndef LIB_CHECK_H
#define LIB_CHECK_H

#include "registry.h"
#include "types.h"

/* Is @got equal to @want? @what names the value in the report. */
#define CHECK_EQ(what, got, want) \
        check_equal(__FILE__, __LINE__, what, (u64)(got), (u64)(want))

/* As CHECK_EQ, only in the bits of @mask. */
#define CHECK_MASKED(what, got, want, mask)                             \
        check_equal(__FILE__, __LINE__, what, (u64)(got) & (u64)(mask), \
                    (u64)(want) & (u64)(mask))

/* Does @cond hold? The text, as for printf, says what was got instead. */
#define CHECK(what, cond, ...) \
        check_true(__FILE__, __LINE__, what, cond, __VA_ARGS__)

bool check_equal(const char *file, int line, const char *what, u64 got,
                 u64 want);
__attribute__((format(printf, 5, 6)))
bool check_true(const char *file, int line, const char *what, bool cond,
                const char *format, ...);

/*
 * For check functions of other layers: counts one check; on failure the caller
 * reports the finding.
 */
void check_count(void);

/* The running case fails. Details may follow with report_detail(). */
void check_finding(const char *file, int line, const char *what,
                   const char *want, const char *got);

/* True once a check of the running case has failed. */
bool check_failed(void);

/*
 * The running case can not do its work: it is an error, unless a check failed
 * before, which may be why.
 */
__attribute__((format(printf, 1, 2)))
void case_error(const char *format, ...);

/*
 * The running case finds that it has nothing to judge on this target, although
 * its declared needs are met: skipped, with this reason. Only for conditions
 * that no declared need can express.
 */
__attribute__((format(printf, 1, 2)))
void case_skip(const char *format, ...);

/* The row @row of the table of @self. */
static inline const void *case_row(const struct test_case *self, unsigned row)
{
        return (const u8 *)self->rows + (size_t)row * self->row_size;
}

#endif
