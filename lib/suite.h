/* Runs the planned cases of an image, one after the other. */
#ifndef LIB_SUITE_H
#define LIB_SUITE_H

#include "types.h"

/*
 * Reports everything from the hello to the end and does not return.
 * @cmdline: the parameters; @boot_path: "rom", "multiboot" or "pvh".
 */
_Noreturn void suite_run(const char *cmdline, const char *boot_path);

/* Gives up: the running case is an error. For what must not happen. */
__attribute__((format(printf, 1, 2)))
_Noreturn void suite_panic(const char *format, ...);

#endif
