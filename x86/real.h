/* Real-address mode, for a moment: i386 builds only. */
#ifndef X86_REAL_H
#define X86_REAL_H

#include "trap.h"

#ifndef __x86_64__
/*
 * As trap_in_v86() (trap.h), in real-address mode: CS = DS = ES = SS = the
 * page, all general registers 0, interrupts off. CR4 and the other bits of CR0
 * stay as they are. Outside VMX operation only.
 */
bool trap_in_real(const void *code, struct trap *t);
#endif

#endif
