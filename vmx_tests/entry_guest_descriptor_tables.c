/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Descriptor-Table Registers.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/canonical.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > Checks on Guest Descriptor-Table Registers"

static const struct canonical_row canonical_rows[] = { CANONICAL_ROWS };

static void base_check(const struct test_case *self, unsigned row,
                       enum guest_mode mode, u32 field)
{
        const struct canonical_row *r = case_row(self, row);
        struct probe p = { .mode = mode, .given = EDITS(SHOW_EXCEPTIONS) };

        probe_legal(self, &p, EDITS(EDIT(SET, field, canonical_value(r))),
                    r->legal, RESULT(BAD_GUEST));
}

static void limit_check(const struct test_case *self, enum guest_mode mode,
                        u32 field, unsigned bit, u32 low)
{
        struct probe p = {
                .mode = mode, .outcome = BAD_GUEST,
                .given = EDITS(SHOW_EXCEPTIONS, EDIT(SET, field, low)),
                .reject = EDITS(EDIT(OR, field, BIT(bit))),
        };

        probe_check(self, &p);
}

#define REGISTER(reg, REG, name, guest, needs_)                              \
TABLE(reg##_base_##name, canonical_rows,                                     \
      .id = "entry.guest." #reg ".base." #name,                              \
      .title = "the base of " #REG " must be canonical", .sdm = SDM,         \
      .rules = "ENTG_" #REG "_BASE_CANONICAL", .needs = "host64 " needs_)    \
{                                                                            \
        base_check(self, row, guest, VMCS_GUEST_##REG##_BASE);               \
}                                                                            \
FAMILY(reg##_limit_##name, 16, .id = "entry.guest." #reg ".limit." #name,    \
       .title = "a bit of the limit of " #REG " from 16 on must be 0",       \
       .sdm = SDM, .rules = "ENTG_" #REG "_LIMIT_HIGH", .needs = needs_)     \
{                                                                            \
        limit_check(self, guest, VMCS_GUEST_##REG##_LIMIT, 16 + row, 0xffff); \
}                                                                            \
CASE(reg##_limit_0_##name, .id = "entry.guest." #reg ".limit-0." #name,      \
     .title = "the limit of " #REG " may be 0, but not 10000H", .sdm = SDM,  \
     .rules = "ENTG_" #REG "_LIMIT_HIGH", .needs = needs_)                   \
{                                                                            \
        limit_check(self, guest, VMCS_GUEST_##REG##_LIMIT, 16, 0);           \
}
#define BOTH(name, guest, needs_)              \
        REGISTER(gdtr, GDTR, name, guest, needs_) \
        REGISTER(idtr, IDTR, name, guest, needs_)
BOTH(long, GUEST_LONG, "host64 ")
BOTH(compat, GUEST_COMPAT, "host64 ")
BOTH(pae, GUEST_PAE, "")
BOTH(v86, GUEST_V86, "")
BOTH(protected, GUEST_PROTECTED, "unrestricted-guest ")
BOTH(real, GUEST_REAL, "unrestricted-guest ")

#define HIGH 0xffff800000000000ull

static const struct probe high_rows[] = {
        { ROW("gdtr", "GDTR of a 32-bit guest"), .mode = GUEST_PAE,
          .given = EDITS(SHOW_EXCEPTIONS),
          .accept = EDITS(SET(GUEST_GDTR_BASE, HIGH)),
          .reject = EDITS(SET(GUEST_GDTR_BASE, HIGH ^ BIT(63))),
          .outcome = BAD_GUEST },
        { ROW("idtr", "IDTR of a 32-bit guest"), .mode = GUEST_PAE,
          .given = EDITS(SHOW_EXCEPTIONS),
          .accept = EDITS(SET(GUEST_IDTR_BASE, HIGH)),
          .reject = EDITS(SET(GUEST_IDTR_BASE, HIGH ^ BIT(63))),
          .outcome = BAD_GUEST },
        { ROW("both-real", "GDTR and IDTR of a real-mode guest", NULL,
              "unrestricted-guest"), .mode = GUEST_REAL,
          .given = EDITS(SHOW_EXCEPTIONS),
          .accept = EDITS(SET(GUEST_GDTR_BASE, HIGH), SET(GUEST_IDTR_BASE, HIGH)),
          .reject = EDITS(SET(GUEST_GDTR_BASE, HIGH),
                          SET(GUEST_IDTR_BASE, HIGH ^ BIT(63))),
          .outcome = BAD_GUEST },
};

PROBES(high, high_rows, .id = "entry.guest.descriptor-table.high-base",
       .title = "a canonical base above 4 GBytes, outside IA-32e mode",
       .sdm = SDM, .rules = "ENTG_GDTR_IDTR_HIGH_BASE_32BIT_OK",
       .needs = "host64")

/* Selectors beyond the limit: the registers come from the VMCS alone. */
PROGRAM(use_segments, 32, "movl (%ebx), %eax\npush %eax\npop %ecx\nvmcall\n");

static void point_ebx(struct vm *vm)
{
        static u32 value = 0x600df00d;

        vm->regs.rbx = (ulong)&value;
}

#define EMPTY EDITS(SET(GUEST_GDTR_LIMIT, 0), SET(GUEST_GDTR_BASE, 0),       \
                    SET(GUEST_DS_SELECTOR, 0xfff8),                          \
                    SET(GUEST_SS_SELECTOR, 0xfff8),                          \
                    SET(GUEST_CS_SELECTOR, 0xfff8),                          \
                    SET(GUEST_TR_SELECTOR, 0xfff8))

static const struct probe content_rows[] = {
        { ROW("pae"), .mode = GUEST_PAE, .given = EDITS(SHOW_EXCEPTIONS),
          .accept = EMPTY, .prepare = point_ebx, .program = &use_segments,
          .rax = 0x600df00d, .rax_mask = 0xffffffff },
        { ROW("compat", NULL, NULL, "host64"), .mode = GUEST_COMPAT,
          .given = EDITS(SHOW_EXCEPTIONS), .accept = EMPTY,
          .prepare = point_ebx, .program = &use_segments,
          .rax = 0x600df00d, .rax_mask = 0xffffffff },
        { ROW("protected", NULL, NULL, "unrestricted-guest"),
          .mode = GUEST_PROTECTED, .given = EDITS(SHOW_EXCEPTIONS),
          .accept = EMPTY, .prepare = point_ebx, .program = &use_segments,
          .rax = 0x600df00d, .rax_mask = 0xffffffff },
};

PROBES(content, content_rows, .id = "entry.guest.descriptor-table.not-read",
       .title = "VM entry does not look at the descriptors of its selectors",
       .sdm = "VM Entries > Checks on Guest Segment Registers",
       .rules = "ENTG_GDT_CONTENT_NOT_READ")
