/* The command line: lib/PROTOCOL.md > Parameters; lib/select.h reads words. */
#ifndef X86_CMDLINE_H
#define X86_CMDLINE_H

#define CMDLINE_SIZE 4080   /* what a ROM's slot can hold, the NUL included */

/* Copies @text (may be NULL), cut at CMDLINE_SIZE. */
void cmdline_init(const char *text);
const char *cmdline(void);

#endif
