/*
 * SDM Vol. 3, VM Entries > Basic VM-Entry Checks: modes and privilege levels, in
 * VMX root operation and in a guest, for the two instructions of VM entry. What
 * comes after these checks: entry_start.c.
 */
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/modes.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/snippet.h"

#define SDM "VM Entries > Basic VM-Entry Checks"
#define UNDEFINED FAULT(VEC_UD)

#define OUTSIDE "ENTB_UD_NOT_IN_VMX_OPERATION"
#define NON_ROOT "ENTB_NONROOT_UD_BEATS_EXIT"

#define ROWS(N)                                                               \
        MODE_ROW("outside", #N " outside VMX operation", OUTSIDE, NULL,       \
                 INSN_##N, STATE_OFF, RAW_NATIVE, 0, UNDEFINED),              \
        MODE_ROW("outside.vmxe-0", "the same with CR4.VMXE = 0", OUTSIDE,     \
                 NULL, INSN_##N, STATE_OFF_VMXE0, RAW_NATIVE, 0, UNDEFINED),  \
        MODE_ROW("outside.cpl3", "the same at CPL 3", OUTSIDE, NULL,          \
                 INSN_##N, STATE_OFF, RAW_CPL3, 0, UNDEFINED),                \
        MODE_ROW("outside.cpl3.vmxe-0", "both", OUTSIDE, NULL, INSN_##N,      \
                 STATE_OFF_VMXE0, RAW_CPL3, 0, UNDEFINED),                    \
        MODE_ROW("real", #N " in real-address mode", "ENTB_UD_REAL_MODE",     \
                 "host32", INSN_##N, STATE_OFF, RAW_REAL, 0, UNDEFINED),      \
        MODE_ROW("v86", #N " in virtual-8086 mode", "ENTB_UD_VIRTUAL_8086",   \
                 "host32", INSN_##N, STATE_ROOT, RAW_V86, 0, UNDEFINED),      \
        MODE_ROW("compat", #N " in compatibility mode",                       \
                 "ENTB_UD_COMPATIBILITY_MODE ENTB_FAULT_CHANGES_NOTHING",     \
                 "host64", INSN_##N, STATE_ROOT, RAW_COMPAT, 0, UNDEFINED),   \
        MODE_ROW("compat.cpl3", "the same at CPL 3",                          \
                 "ENTB_UD_COMPATIBILITY_MODE", "host64", INSN_##N,            \
                 STATE_ROOT, RAW_COMPAT_CPL3, 0, UNDEFINED),                  \
        MODE_ROW("lock", "LOCK " #N, "ENTB_UD_LOCK_PREFIX", NULL, INSN_##N,   \
                 STATE_ROOT, RAW_NATIVE, MODE_LOCK, UNDEFINED),               \
        MODE_ROW("guest.lock", "LOCK " #N " in a guest",                      \
                 "ENTB_UD_LOCK_PREFIX", NULL, INSN_##N, STATE_GUEST,          \
                 GUEST_NATIVE, MODE_LOCK, UNDEFINED),                         \
        MODE_ROW("guest.real", #N " in a guest in real-address mode",         \
                 NON_ROOT " ENTB_UD_REAL_MODE", "unrestricted-guest",         \
                 INSN_##N, STATE_GUEST, GUEST_REAL, 0, UNDEFINED),            \
        MODE_ROW("guest.v86", #N " in a guest in virtual-8086 mode",          \
                 NON_ROOT, NULL, INSN_##N, STATE_GUEST, GUEST_V86, 0,         \
                 UNDEFINED),                                                  \
        MODE_ROW("guest.compat", #N " in a guest in compatibility mode",      \
                 NON_ROOT, "host64", INSN_##N, STATE_GUEST, GUEST_COMPAT, 0,  \
                 UNDEFINED)

static const struct mode_row launch_rows[] = { ROWS(VMLAUNCH) };
static const struct mode_row resume_rows[] = { ROWS(VMRESUME) };

MODES(launch_modes, launch_rows, .id = "entry.start.vmlaunch",
      .title = "modes in which VMLAUNCH is undefined", .sdm = SDM)
MODES(resume_modes, resume_rows, .id = "entry.start.vmresume",
      .title = "modes in which VMRESUME is undefined", .sdm = SDM)

/* Code for another privilege level; INT 3 behind it ends it as well. */
asm(".pushsection .text\n"
    "entry_start_launch: vmlaunch\nint3\n"
    "entry_start_resume: vmresume\nint3\n"
    ".popsection\n");
extern const u8 entry_start_launch[], entry_start_resume[];

struct outer {
        const u8 *code;
        unsigned cpl;
        ulong stack;
};

/* Segments of that privilege level, in the entries for cases. */
#define OUTER_CODE(cpl) (SEL_SPARE | (cpl))
#define OUTER_DATA(cpl) ((SEL_SPARE + 8) | (cpl))

#ifdef __x86_64__
#define OUTER_RETURN "iretq"
#else
#define OUTER_RETURN "iret"
#endif

static void enter_level(void *arg)
{
        const struct outer *o = arg;
        ulong code = OUTER_CODE(o->cpl), data = OUTER_DATA(o->cpl);

        asm volatile("push %0\n\tpush %1\n\tpush $2\n\tpush %2\n\tpush %3\n\t"
                     OUTER_RETURN
                     : : "r" (data), "r" (o->stack), "r" (code), "r" (o->code)
                     : "memory");
        __builtin_unreachable();
}

/* CPL 1 and 2 use supervisor pages; CPL 3 has a page of its own. */
static struct trap run_at(unsigned cpl, enum insn_id id)
{
        const u8 *code = id == INSN_VMLAUNCH ? entry_start_launch
                                             : entry_start_resume;
        struct outer o = { code, cpl, (ulong)page_alloc(1) + PAGE_SIZE };
        u64 *gdt = this_cpu()->gdt + SEL_SPARE / 8;
        u64 common = DESC_S | DESC_P | DESC_G | DESC_DPL(cpl);
        u8 page[TRAP_CODE_SIZE] = { 0 };
        struct trap t;

        if (cpl == 3) {
                memcpy(page, code, 4);
                trap_at_cpl3(page, &t);
                return t;
        }
        gdt[0] = desc_make(0, 0xfffff, common | DESC_TYPE(11) |
                           (sizeof(ulong) == 8 ? DESC_L : DESC_DB));
        gdt[1] = desc_make(0, 0xfffff, common | DESC_TYPE(3) | DESC_DB);
        trap_call(enter_level, &o, &t);
        return t;
}

static void level_case(unsigned cpl, enum insn_id id, bool current)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct trap t;

        if (!current)
                begin_without_vmcs();
        else
                vm_poison(0);
        t = run_at(cpl, id);
        CHECK("exception", t.raised, "none");
        CHECK_EQ("vector", t.vector, VEC_GP);
        CHECK("error code", t.has_error, "none");
        CHECK_EQ("error code", t.error, 0);
        CHECK_EQ("CPL of the exception", t.cs & 3, cpl);
        CHECK_MASKED("saved RFLAGS", t.rflags, 0, VMX_FLAGS);
        if (cpl != 3)
                CHECK_EQ("saved RIP", t.rip, (ulong)(id == INSN_VMLAUNCH
                                                     ? entry_start_launch
                                                     : entry_start_resume));
        if (!current) {
                CHECK_RESULT("the same at CPL 0", vm_launch(vm), FAIL_INVALID);
                vm_load(vm);
                return;
        }
        CHECK_VMCS(VM_INSTRUCTION_ERROR, VMERR_UNSUPPORTED_FIELD);
        CHECK_RESULT("VMLAUNCH at CPL 0", vm_launch(vm), EXITS(EXIT_VMCALL));
}

FAMILY(launch_cpl, 3, .id = "entry.start.vmlaunch.cpl-1-plus",
       .title = "#GP(0) for VMLAUNCH at CPL 1, 2 and 3", .sdm = SDM,
       .rules = "ENTB_GP_CPL_NOT_ZERO ENTB_FAULT_CHANGES_NOTHING")
{
        level_case(row + 1, INSN_VMLAUNCH, true);
}

FAMILY(resume_cpl, 3, .id = "entry.start.vmresume.cpl-1-plus",
       .title = "#GP(0) for VMRESUME at CPL 1, 2 and 3", .sdm = SDM,
       .rules = "ENTB_GP_CPL_NOT_ZERO ENTB_FAULT_CHANGES_NOTHING")
{
        level_case(row + 1, INSN_VMRESUME, true);
}

FAMILY(no_vmcs_cpl, 2, .id = "entry.start.cpl3-without-vmcs",
       .title = "#GP(0) at CPL 3 comes before the check for a current VMCS",
       .sdm = SDM, .rules = "ENTB_GP_BEATS_NO_CURRENT_VMCS")
{
        level_case(3, row ? INSN_VMRESUME : INSN_VMLAUNCH, false);
}

/* A guest of every privilege level. */
PROGRAM(guest_launch, NATIVE_BITS, "vmlaunch\n");
PROGRAM(guest_resume, NATIVE_BITS, "vmresume\n");

static void guest_case(unsigned cpl, enum insn_id id)
{
        const u64 dpl = (u64)cpl << 5, flags = VMX_FLAGS;
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(VMCS_GUEST_CS_SELECTOR, vmread(VMCS_GUEST_CS_SELECTOR) | cpl);
        vmwrite(VMCS_GUEST_SS_SELECTOR, vmread(VMCS_GUEST_SS_SELECTOR) | cpl);
        vm_control(VMCS_GUEST_CS_ACCESS_RIGHTS, dpl, 0);
        vm_control(VMCS_GUEST_SS_ACCESS_RIGHTS, dpl, 0);
        vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | flags);
        vm_program(vm, id == INSN_VMLAUNCH ? guest_launch : guest_resume);
        vm_poison(0);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS_WITH(insns[id].exit, 0));
        CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, 3);
        CHECK_VMCS(GUEST_RIP, vm->entry_rip);
        CHECK_VMCS(GUEST_RFLAGS, RFLAGS_FIXED | flags);
}

#define GUEST_RULES "ENTB_NONROOT_VMLAUNCH_EXITS ENTB_NONROOT_EXIT_BEATS_CPL"

FAMILY(guest_launch_cpl, 4, .id = "entry.start.vmlaunch.guest.cpl",
       .title = "VMLAUNCH exits from a guest at any CPL", .sdm = SDM,
       .rules = GUEST_RULES)
{
        guest_case(row, INSN_VMLAUNCH);
}

FAMILY(guest_resume_cpl, 4, .id = "entry.start.vmresume.guest.cpl",
       .title = "VMRESUME exits from a guest at any CPL", .sdm = SDM,
       .rules = GUEST_RULES)
{
        guest_case(row, INSN_VMRESUME);
}
