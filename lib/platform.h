/*
 * What the suite's core asks of the machine under it. The tests on the host
 * provide these themselves.
 */
#ifndef LIB_PLATFORM_H
#define LIB_PLATFORM_H

#include "types.h"
#include "registry.h"

void console_write(const char *bytes, size_t size);
void console_flush(void);

/* Ends the boot (lib/PROTOCOL.md > The end). */
_Noreturn void machine_end(void);

/* The build id of the image, bytes and their number. */
const u8 *image_build_id(size_t *size);

/* Reports every item with report_fingerprint(). */
void machine_fingerprint(void);

/* Brings the machine into the state in which every case begins. */
void machine_case_begin(void);

/* Undoes what a case may have left behind. */
void machine_case_end(void);

/*
 * The reason why the needs of a case, those of its entry (@needs) and of its
 * row (@more), are not met; NULL if they are. Either list may be NULL; both are
 * constants of the image. *invalid is set when a token is unknown; the reason
 * then names it.
 */
const char *need_absent(const char *needs, const char *more, bool *invalid);

/* The registry: the section .vmxt.cases. */
extern const struct test_case registry_start[], registry_end[];

#endif
