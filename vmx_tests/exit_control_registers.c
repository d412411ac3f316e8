/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits
 * Conditionally: MOV to and from control registers, CLTS, LMSW. The exit
 * qualification: VM Exits > Exit Qualification for Control-Register Accesses.
 */
#include "x86/cpu.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits > " \
            "Instructions That Cause VM Exits Conditionally"

/* The fields of the qualification. */
#define CR(n)     ((u64)(n))
#define TO        (0ull << 4)
#define FROM      (1ull << 4)
#define CLTS      (2ull << 4)
#define LMSW      (3ull << 4)
#define LMSW_MEM  BIT(6)
#define REG(n)    ((u64)(n) << 8)
#define SOURCE(n) ((u64)(n) << 16)

/* The bits that the SDM calls undefined; all others count. */
#define UNDEFINED (BIT(7) | BITS(15, 12) | BITS(63, 32))

ONE(to_cr0, "mov %" CX ", %cr0");
ONE(to_cr3, "mov %" CX ", %cr3");
ONE(to_cr4, "mov %" CX ", %cr4");
ONE(from_cr0, "mov %cr0, %" CX);
ONE(from_cr4, "mov %cr4, %" CX);
ONE(smsw_code, "smsw %cx");
ONE(from_cr3, "mov %cr3, %" CX);
ONE(from_cr3_sp, "mov %cr3, %" SP);
ONE(to_cr2, "mov %" CX ", %cr2");
ONE(clts_code, "clts");
ONE(lmsw_code, "lmsw %cx");
#ifdef __x86_64__
ONE(to_cr8, "mov %rcx, %cr8");
ONE(from_cr8, "mov %cr8, %rcx");
ONE(from_cr3_r15, "mov %cr3, %r15");
#endif

/* CX: the value that the guest has in the register already. */
static void own_cr0(struct vm *vm)
{
        vm->regs.rcx = (ulong)vmread(VMCS_GUEST_CR0);
}

static void own_cr3(struct vm *vm)
{
        vm->regs.rcx = (ulong)vmread(VMCS_GUEST_CR3);
}

static void own_cr4(struct vm *vm)
{
        vm->regs.rcx = (ulong)vmread(VMCS_GUEST_CR4);
}

static void zero(struct vm *vm)
{
        vm->regs.rcx = 0;
}

/* LMSW can set PE only and sets it here: the guest has it. */
static void lmsw_source(struct vm *vm)
{
        vm->regs.rcx = CR0_PE;
}

static void lmsw_high_source(struct vm *vm)
{
        vm->regs.rcx = 0xfff0 | CR0_PE;
}

#define CONTROL(bit, q)                                            \
        .runs = EDITS(CLEAR(PRIMARY_CONTROLS, bit)),               \
        .exits = EDITS(OR(PRIMARY_CONTROLS, bit)),                 \
        .outcome = EXITS_WITH(EXIT_CR_ACCESS, q), .ignore = UNDEFINED

/* The control's default setting is 1: that it can be 0 is the need. */
static bool can_be_0(const struct test_case *self, u64 mask)
{
        (void)self;
        if (control_can_be_0(WORD_PRIMARY, mask))
                return true;
        case_skip("the control can not be 0");
        return false;
}

static const struct exit_probe cr3_rows[] = {
        { ROW("to-cr3", "MOV to CR3 with CR3-load exiting",
              "EXI_MOV_TO_CR3_EXITING_OFF"), RUN(to_cr3), .prepare = own_cr3,
          CONTROL(CTL_PRIMARY_CR3_LOAD_EXITING, CR(3) | TO | REG(1)) },
        { ROW("from-cr3", "MOV from CR3 with CR3-store exiting",
              "EXI_MOV_FROM_CR3"), RUN(from_cr3),
          CONTROL(CTL_PRIMARY_CR3_STORE_EXITING, CR(3) | FROM | REG(1)) },
#ifdef __x86_64__
        { ROW("from-cr3-r15", "the register's number: R15",
              "EXI_MOV_FROM_CR3", "host64"), RUN(from_cr3_r15),
          CONTROL(CTL_PRIMARY_CR3_STORE_EXITING, CR(3) | FROM | REG(15)) },
#endif
};

TABLE(cr3, cr3_rows, .id = "exit.cr", .title = "accesses to CR3", .sdm = SDM)
{
        if (can_be_0(self, CTL_PRIMARY_CR3_LOAD_EXITING |
                           CTL_PRIMARY_CR3_STORE_EXITING))
                exit_probe_run(self, row);
}

CASE(from_cr3_to_sp, .id = "exit.cr.from-cr3-sp",
     .title = "the register's number: RSP", .sdm = SDM,
     .rules = "EXI_MOV_FROM_CR3", .needs = "cr3-store-exiting")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct vmx_result got;

        vm_program(vm, from_cr3_sp);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_CR3_STORE_EXITING, 0);
        vm_poison(0);
        got = vm_enter(vm);
        got.info &= ~UNDEFINED;
        CHECK_RESULT("MOV from CR3 to RSP", got,
                     EXITS_WITH(EXIT_CR_ACCESS, CR(3) | FROM | REG(4)));
}

/* Mask and read shadow against the operand; the guest's own value is 0x31 and
 * more: what runs changes nothing that matters. */
static const struct exit_probe mask_rows[] = {
#define MASK(name, what, rule, code, prep, n, mask_bits, shadow_runs, shadow_exits) \
        { ROW(name, what, rule), RUN(code), .prepare = prep,                  \
          .given = EDITS(SET(CR##n##_GUEST_HOST_MASK, mask_bits)),            \
          .runs = EDITS(shadow_runs(CR##n##_READ_SHADOW, mask_bits)),         \
          .exits = EDITS(shadow_exits(CR##n##_READ_SHADOW, mask_bits)),       \
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, CR(n) | TO | REG(1)),         \
          .ignore = UNDEFINED }
        MASK("to-cr0-pe", "MOV to CR0, PE differs from the shadow",
             "EXI_MOV_TO_CR0", to_cr0, own_cr0, 0, CR0_PE, OR, CLEAR),
        MASK("to-cr0-mp", "MOV to CR0, MP differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_MP, CLEAR, OR),
        MASK("to-cr0-em", "MOV to CR0, EM differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_EM, CLEAR, OR),
        MASK("to-cr0-ts", "MOV to CR0, TS differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_TS, CLEAR, OR),
        MASK("to-cr0-ne", "MOV to CR0, NE differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_NE, OR, CLEAR),
        MASK("to-cr0-wp", "MOV to CR0, WP differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_WP, CLEAR, OR),
        MASK("to-cr0-am", "MOV to CR0, AM differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_AM, CLEAR, OR),
        MASK("to-cr0-nw", "MOV to CR0, NW differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_NW, CLEAR, OR),
        MASK("to-cr0-cd", "MOV to CR0, CD differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_CD, CLEAR, OR),
        MASK("to-cr0-pg", "MOV to CR0, PG differs", "EXI_MOV_TO_CR0", to_cr0,
             own_cr0, 0, CR0_PG, OR, CLEAR),
        MASK("to-cr4-vme", "MOV to CR4, VME differs", "EXI_MOV_TO_CR4", to_cr4,
             own_cr4, 4, CR4_VME, CLEAR, OR),
        MASK("to-cr4-tsd", "MOV to CR4, TSD differs", "EXI_MOV_TO_CR4", to_cr4,
             own_cr4, 4, CR4_TSD, CLEAR, OR),
        MASK("to-cr4-de", "MOV to CR4, DE differs", "EXI_MOV_TO_CR4", to_cr4,
             own_cr4, 4, CR4_DE, CLEAR, OR),
        MASK("to-cr4-pae", "MOV to CR4, PAE differs", "EXI_MOV_TO_CR4", to_cr4,
             own_cr4, 4, CR4_PAE, OR, CLEAR),
        MASK("to-cr4-pge", "MOV to CR4, PGE differs", "EXI_MOV_TO_CR4", to_cr4,
             own_cr4, 4, CR4_PGE, CLEAR, OR),
        MASK("to-cr4-vmxe", "MOV to CR4, VMXE differs", "EXI_MOV_TO_CR4",
             to_cr4, own_cr4, 4, CR4_VMXE, OR, CLEAR),
};

EXIT_PROBES(masks, mask_rows, .id = "exit.cr",
            .title = "a masked bit of the operand differs from the read shadow",
            .sdm = SDM)

static const struct exit_probe clts_rows[] = {
        { ROW("clts", "mask 1 and shadow 1; shadow 0 does not exit",
              "EXI_CLTS"), RUN(clts_code),
          .given = EDITS(SET(CR0_GUEST_HOST_MASK, CR0_TS)),
          .runs = EDITS(CLEAR(CR0_READ_SHADOW, CR0_TS)),
          .exits = EDITS(OR(CR0_READ_SHADOW, CR0_TS)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, CR(0) | CLTS),
          .ignore = UNDEFINED },
        { ROW("clts.mask", "shadow 1 and mask 1; mask 0 does not exit",
              "EXI_CLTS"), RUN(clts_code),
          .given = EDITS(OR(CR0_READ_SHADOW, CR0_TS)),
          .runs = EDITS(SET(CR0_GUEST_HOST_MASK, 0)),
          .exits = EDITS(SET(CR0_GUEST_HOST_MASK, CR0_TS)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, CR(0) | CLTS),
          .ignore = UNDEFINED },
        { ROW("lmsw.pe", "LMSW sets PE over a shadow of 0", "EXI_LMSW_PE_SET"),
          RUN(lmsw_code), .prepare = lmsw_source,
          .given = EDITS(SET(CR0_GUEST_HOST_MASK, CR0_PE)),
          .runs = EDITS(OR(CR0_READ_SHADOW, CR0_PE)),
          .exits = EDITS(CLEAR(CR0_READ_SHADOW, CR0_PE)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, LMSW | SOURCE(CR0_PE)),
          .ignore = UNDEFINED },
        { ROW("lmsw.pe-not-cleared", "LMSW with PE = 0 over a shadow of 1",
              "EXI_LMSW_PE_CLEAR_NO_EXIT"), RUN(lmsw_code), .prepare = zero,
          .given = EDITS(SET(CR0_GUEST_HOST_MASK, CR0_PE | CR0_TS)),
          .runs = EDITS(OR(CR0_READ_SHADOW, CR0_PE)),
          .exits = EDITS(OR(CR0_READ_SHADOW, CR0_PE | CR0_TS)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, LMSW | SOURCE(0)),
          .ignore = UNDEFINED },
#define LMSW_BIT(name, bit)                                                   \
        { ROW("lmsw." name, "LMSW, the bit differs from the shadow",          \
              "EXI_LMSW_BITS_3_1"), RUN(lmsw_code), .prepare = lmsw_source,   \
          .given = EDITS(SET(CR0_GUEST_HOST_MASK, bit)),                      \
          .runs = EDITS(CLEAR(CR0_READ_SHADOW, bit)),                         \
          .exits = EDITS(OR(CR0_READ_SHADOW, bit)),                           \
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, LMSW | SOURCE(CR0_PE)),       \
          .ignore = UNDEFINED }
        LMSW_BIT("mp", CR0_MP), LMSW_BIT("em", CR0_EM), LMSW_BIT("ts", CR0_TS),
        { ROW("lmsw.high-bits", "LMSW, source bits 15:4 do not count",
              "EXI_LMSW_HIGH_BITS_IGNORED"), RUN(lmsw_code),
          .prepare = lmsw_high_source,
          .given = EDITS(SET(CR0_GUEST_HOST_MASK, ~0ull)),
          .runs = EDITS(OR(CR0_READ_SHADOW, CR0_PE)),
          .exits = EDITS(OR(CR0_READ_SHADOW, CR0_PE | CR0_TS)),
          .outcome = EXITS_WITH(EXIT_CR_ACCESS, LMSW | SOURCE(0xfff1)),
          .ignore = UNDEFINED },
};

EXIT_PROBES(clts_lmsw, clts_rows, .id = "exit.cr",
            .title = "CLTS and LMSW by CR0's mask and read shadow", .sdm = SDM)

static const struct exit_probe other_rows[] = {
        { ROW("from-cr0", "MOV from CR0 has no exit",
              "EXI_MOV_FROM_CR0_CR4_NEVER_EXIT"), RUN(from_cr0), .never = true,
          .given = EDITS(SET(CR0_GUEST_HOST_MASK, ~0ull)) },
        { ROW("from-cr4", "MOV from CR4 has no exit",
              "EXI_MOV_FROM_CR0_CR4_NEVER_EXIT"), RUN(from_cr4), .never = true,
          .given = EDITS(SET(CR4_GUEST_HOST_MASK, ~0ull)) },
        { ROW("smsw", "SMSW has no exit", "EXI_SMSW_NEVER_EXITS",
              "descriptor-table-exiting"), RUN(smsw_code), .never = true,
          .given = EDITS(SET(CR0_GUEST_HOST_MASK, ~0ull), WITH_SECONDARY(
                         CTL_SECONDARY_DESCRIPTOR_TABLE_EXITING)) },
        { ROW("to-cr2", "MOV to CR2 has no exit", "EXI_MOV_CR2_NO_EXIT"),
          RUN(to_cr2), .prepare = zero, .never = true },
#ifdef __x86_64__
        { ROW("to-cr8", "CR8-load exiting", "EXI_MOV_TO_CR8",
              "cr8-load-exiting host64"), RUN(to_cr8), .prepare = zero,
          CONTROL(CTL_PRIMARY_CR8_LOAD_EXITING, CR(8) | TO | REG(1)) },
        { ROW("from-cr8", "CR8-store exiting", "EXI_MOV_FROM_CR8",
              "cr8-store-exiting host64"), RUN(from_cr8),
          CONTROL(CTL_PRIMARY_CR8_STORE_EXITING, CR(8) | FROM | REG(1)) },
#endif
};

EXIT_PROBES(others, other_rows, .id = "exit.cr",
            .title = "CR0 reads, CR2 and CR8", .sdm = SDM)

/*
 * CR3-target values: the operand is equal to target @i, and then differs from
 * it in bit 12 (of an address that is never used: the instruction exits).
 */
FAMILY(targets, 4, .id = "exit.cr.cr3-target",
       .title = "MOV to CR3 does not exit where the operand is a CR3-target value",
       .sdm = SDM,
       .rules = "EXI_MOV_TO_CR3_TARGET_MATCH EXI_MOV_TO_CR3_TARGET_COUNT",
       .needs = "cr3-load-exiting cr3-target-0")
{
        if (vmx_cap(misc, CR3_TARGETS) <= row) {
                case_skip("only %u CR3-target values",
                          (unsigned)vmx_cap(misc, CR3_TARGETS));
                return;
        }
        for (unsigned side = 0; side < 3; side++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                u64 cr3 = vmread(VMCS_GUEST_CR3);
                struct vmx_result got;

                vm_program(vm, to_cr3);
                own_cr3(vm);
                vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_CR3_LOAD_EXITING,
                           0);
                /* Side 1: the value differs. Side 2: it is beyond the count. */
                vmwrite(VMCS_CR3_TARGET_VALUE_0 + 2 * row,
                        side == 1 ? cr3 ^ BIT(12) : cr3);
                vmwrite(VMCS_CR3_TARGET_COUNT, side == 2 ? row : row + 1);
                vm_poison(0);
                got = vm_enter(vm);
                got.info &= ~UNDEFINED;
                if (side)
                        CHECK_RESULT(side == 1 ? "operand differs"
                                               : "target beyond the count", got,
                                     EXITS_WITH(EXIT_CR_ACCESS,
                                                CR(3) | TO | REG(1)));
                else
                        CHECK_RESULT("operand is a target value", got,
                                     EXITS(EXIT_VMCALL));
        }
}
