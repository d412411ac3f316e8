/*
 * SDM Vol. 3, VMX Instruction Reference > VMCALL. In VMX root operation and
 * outside VMX operation; in a guest only which modes exit.
 */
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/modes.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/session.h"

#define SDM "VMX Instruction Reference > VMCALL—Call to VM Monitor"

#define OUTSIDE(id, title, needs, mode)                                    \
        MODE_ROW("outside" id, "VMCALL outside VMX operation" title,       \
                 "INS_VMCALL_UD_OUTSIDE_VMX SMM_VMCALL_ROOT_FAULTS", needs, \
                 INSN_VMCALL, STATE_OFF, mode, 0, FAULT(VEC_UD))

static const struct mode_row mode_rows[] = {
        OUTSIDE("", "", NULL, RAW_NATIVE),
        OUTSIDE(".cpl3", " at CPL 3", NULL, RAW_CPL3),
        OUTSIDE(".compat", " in compatibility mode", "host64", RAW_COMPAT),
        OUTSIDE(".compat-cpl3", " in compatibility mode at CPL 3", "host64",
                RAW_COMPAT_CPL3),
        OUTSIDE(".v86", " in virtual-8086 mode", "host32", RAW_V86),
        OUTSIDE(".real", " in real-address mode", "host32", RAW_REAL),
        MODE_ROW("outside.vmxe-0", "VMCALL outside VMX with CR4.VMXE = 0",
                 "INS_VMCALL_UD_OUTSIDE_VMX", NULL, INSN_VMCALL,
                 STATE_OFF_VMXE0, RAW_NATIVE, 0, FAULT(VEC_UD)),
        MODE_ROW("root.v86", "VMCALL in virtual-8086 mode, VMX root operation",
                 "INS_VMCALL_ROOT_UD_V86 SMM_VMCALL_ROOT_FAULTS", "host32", INSN_VMCALL, STATE_ROOT,
                 RAW_V86, 0, FAULT(VEC_UD)),
        MODE_ROW("root.compat", "VMCALL in compatibility mode, VMX root",
                 "INS_VMCALL_ROOT_UD_COMPAT SMM_VMCALL_ROOT_FAULTS", "host64",
                 INSN_VMCALL, STATE_ROOT, RAW_COMPAT, 0, FAULT(VEC_UD)),
        MODE_ROW("root.compat-cpl3",
                 "VMCALL in compatibility mode at CPL 3, VMX root",
                 "INS_VMCALL_ROOT_UD_COMPAT", "host64", INSN_VMCALL, STATE_ROOT,
                 RAW_COMPAT_CPL3, 0, FAULT(VEC_UD)),
        MODE_ROWS_INNER_CPL(VMCALL, "root", "INS_VMCALL_ROOT_GP_CPL", STATE_ROOT),
        MODE_ROW("root.cpl3", "VMCALL at CPL 3 in VMX root operation",
                 "INS_VMCALL_ROOT_GP_CPL SMM_VMCALL_ROOT_FAULTS", NULL,
                 INSN_VMCALL, STATE_ROOT, RAW_CPL3, 0, FAULT_CODE(VEC_GP, 0)),
        MODE_ROW("root.lock", "LOCK VMCALL in VMX root operation",
                 "INS_VMCALL_LOCK", NULL, INSN_VMCALL, STATE_ROOT, RAW_NATIVE,
                 MODE_LOCK, FAULT(VEC_UD)),
        MODE_ROW("guest.lock", "LOCK VMCALL in a guest", "INS_VMCALL_LOCK", NULL,
                 INSN_VMCALL, STATE_GUEST, GUEST_NATIVE, MODE_LOCK,
                 FAULT(VEC_UD)),
};

MODES(vmcall_modes, mode_rows, .id = "vmcall", .title = "refused", .sdm = SDM)

struct exit_row {
        struct row head;
        enum guest_mode mode;
        bool cpl3, code16;
};

static const struct exit_row exit_rows[] = {
        { ROW("v86", "virtual-8086 mode"), .mode = GUEST_V86 },
        { ROW("compat", "compatibility mode", NULL, "host64"),
          .mode = GUEST_COMPAT },
        { ROW("compat-cpl3", "compatibility mode, CPL 3", NULL, "host64"),
          .mode = GUEST_COMPAT, .cpl3 = true },
        { ROW("protected-16", "protected mode, 16-bit code"),
          .mode = GUEST_PAE, .code16 = true },
        { ROW("real", "real-address mode", NULL, "unrestricted-guest"),
          .mode = GUEST_REAL },
};

TABLE(vmcall_guest, exit_rows, .id = "vmcall.guest.exits", .sdm = SDM,
      .title = "VMCALL causes a VM exit where other VMX instructions are undefined",
      .rules = "INS_VMCALL_NONROOT_MODES")
{
        const u64 d_b = 1u << 14;
        const struct exit_row *r = case_row(self, row);
        struct vm *vm = vm_begin(r->mode);
        struct code code = { 0 };

        if (r->cpl3)
                raw_guest_cpl3(vm);
        if (r->code16)
                vmwrite(VMCS_GUEST_CS_ACCESS_RIGHTS,
                        vmread(VMCS_GUEST_CS_ACCESS_RIGHTS) & ~d_b);
        CODE_ADD(&code, 0x90, 0x0f, 0x01, 0xc1);
        CHECK_RESULT("VMCALL behind a NOP", raw_guest(vm, &code, 0),
                     EXITS_WITH(EXIT_VMCALL, 0));
        CHECK_EQ("bytes from the program's beginning",
                 vmread(VMCS_GUEST_RIP) + vmread(VMCS_GUEST_CS_BASE),
                 vm->entry_rip + 1);
        CHECK_EQ("instruction length", vmread(VMCS_EXIT_INSTRUCTION_LENGTH), 3);
}

/* Nobody has set the valid bit of IA32_SMM_MONITOR_CTL: only SMM can. */
static bool no_monitor(void)
{
        u64 value;

        return !vmx_cap(basic, DUAL_MONITOR) ||
               rdmsr_safe(MSR_IA32_SMM_MONITOR_CTL, &value).raised ||
               !(value & 1);
}

enum current { CURRENT_CLEAR, CURRENT_LAUNCHED, CURRENT_CONTROLS, CURRENT_NONE };

static const struct row current_rows[] = {
        [CURRENT_CLEAR] = { .id = "clear", .title = "a clear VMCS current" },
        [CURRENT_LAUNCHED] = { .id = "launched",
                               .title = "a launched VMCS current",
                               .rules = "INS_VMCALL_ROOT_ERR1_BEFORE_19 "
                                        "SMM_VMCALL_ROOT_ORDER" },
        [CURRENT_CONTROLS] = { .id = "controls", .title = "a launched VMCS with "
                               "invalid VM-exit controls current",
                               .rules = "SMM_VMCALL_ROOT_ORDER" },
        [CURRENT_NONE] = { .id = "none", .title = "no VMCS current" },
};

TABLE(vmcall_fails, current_rows, .id = "vmcall.root.fails", .sdm = SDM,
      .title = "VMCALL in VMX root operation fails without an SMM monitor",
      .rules = "INS_VMCALL_ROOT_ERR1 SMM_VMCALL_ROOT_NODM")
{
        struct vm *vm;

        if (!no_monitor()) {
                case_skip("an SMM monitor is there");
                return;
        }
        if (row == CURRENT_NONE) {
                begin_without_vmcs();
                CHECK_RESULT("VMCALL", vmcall_root(), FAIL_INVALID);
                CHECK_EQ("current-VMCS pointer", current_vmcs(), NO_VMCS);
                return;
        }
        vm = vm_begin(GUEST_NATIVE);
        if (row != CURRENT_CLEAR)
                CHECK_RESULT("VMLAUNCH", vm_launch(vm), EXITS(EXIT_VMCALL));
        if (row == CURRENT_CONTROLS)
                vmwrite(VMCS_EXIT_CONTROLS, 0);
        vm_poison(VMERR_VMCALL_IN_ROOT);
        CHECK_RESULT("VMCALL", vmcall_root(), FAIL_VALID(VMERR_VMCALL_IN_ROOT));
        CHECK_EQ("current-VMCS pointer", current_vmcs(), vm->pointer);
        if (row != CURRENT_CONTROLS)
                CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
}
