#include "x86/vmx/snippet.h"
#include "x86/vmx/instr.h"

/* x86/vmx/snippet_run.S */
void snippet_run_asm(struct snippet_state *state);

#define WORD sizeof(ulong)
#define REGS (sizeof(struct guest_regs) / WORD)
_Static_assert(offsetof(struct snippet_state, flags) == REGS * WORD, "as in .S");
_Static_assert(offsetof(struct snippet_state, cs) == (REGS + 2) * WORD, "as in .S");

struct snippet_state snippet_state(void)
{
        struct snippet_state s = {
                .flags = VMX_FLAGS | RFLAGS_FIXED, .cs = SEL_CODE,
                .ds = SEL_DATA, .es = SEL_DATA, .fs = SEL_DATA, .gs = SEL_DATA,
                .ss = SEL_DATA,
        };
        ulong *r = (ulong *)&s.regs;

        for (unsigned i = 0; i < REGS; i++)
                r[i] = (ulong)0x5eed000000000000ull + 0x5eed00u + i * 0x11u;
        return s;
}

struct vmx_result snippet_run(const struct snippet *s, struct snippet_state *state)
{
        state->code = s->start;
        trap_clear();
        snippet_run_asm(state);
        return vmx_result_of(state->flags);
}
