/* Where the protocol's bytes leave the machine. */
#ifndef X86_CONSOLE_H
#define X86_CONSOLE_H

#include "../lib/types.h"

void console_init(void);    /* chooses the output, see lib/PROTOCOL.md */
void console_write(const char *text, size_t size);
void console_flush(void);   /* returns when every byte has left */
/* Ends the boot as lib/PROTOCOL.md says. */
void machine_end(void) __attribute__((noreturn));

#endif
