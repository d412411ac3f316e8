/*
 * SDM Vol. 3, VMX Non-Root Operation > VM Functions, General Operation of the
 * VMFUNC Instruction; VMX Instruction Reference > VMFUNC: where it is undefined
 * and when it exits. What EPTP switching does: eptp_switching.c.
 */
#include "x86/vmx/modes.h"
#include "x86/vmx/session.h"
#include "x86/vmx/views.h"

#define SDM "VMX Non-Root Operation > VM Functions > General Operation of the VMFUNC Instruction"
#define SDM_VMFUNC "VMX Instruction Reference > VMFUNC"
#define NEEDS "enable-vm-functions eptp-switching"

struct call {
        struct row head;
        enum guest_mode mode;
        bool cpl3;
        u8 prefix;
        bool off;            /* "enable VM functions" is 0 */
        bool secondary_off;
        bool function_off;   /* the VM-function control is 0 */
        u64 rax;
        struct vmx_result outcome;
};

#define DISABLED EXITS_WITH(EXIT_VMFUNC, 0)
#define UD FAULT(VEC_UD)
#define SWITCHES EXITS(EXIT_VMCALL)

static const struct call calls[] = {
        { ROW("off", "#UD with \"enable VM functions\" = 0",
              "INS_VMFUNC_UD_DISABLED VMF_UD_CONTROL_0", NULL), .off = true, .outcome = UD },
        { ROW("secondary-off", "#UD without secondary controls",
              "INS_VMFUNC_UD_DISABLED VMF_UD_SECONDARY_INACTIVE", NULL),
          .secondary_off = true, .outcome = UD },
        { ROW("eax.63", "EAX = 63 exits: it could be enabled",
              "INS_VMFUNC_UD_EAX INS_VMFUNC_EXIT_DISABLED VMF_DISABLED_FN_EXIT", NULL),
          .rax = 63, .outcome = DISABLED },
        { ROW("eax.64", "EAX = 64 is undefined", "INS_VMFUNC_UD_EAX VMF_UD_EAX_GT_63", NULL),
          .rax = 64, .outcome = UD },
        { ROW("eax.80000000", "EAX = 80000000H is undefined",
              "INS_VMFUNC_UD_EAX VMF_UD_EAX_GT_63", NULL), .rax = 0x80000000, .outcome = UD },
        { ROW("eax.ffffffff", "EAX = FFFFFFFFH is undefined",
              "INS_VMFUNC_UD_EAX VMF_UD_EAX_GT_63", NULL), .rax = 0xffffffff, .outcome = UD },
        { ROW("eax.1", "EAX = 1 exits", "INS_VMFUNC_EXIT_DISABLED VMF_DISABLED_FN_EXIT",
              NULL), .rax = 1, .outcome = DISABLED },
        { ROW("eax.0-off", "EAX = 0 exits if that function is off",
              "INS_VMFUNC_EXIT_DISABLED VMF_DISABLED_FN_EXIT", NULL),
          .function_off = true, .outcome = DISABLED },
        { ROW("rax-high", "bits 63:32 of RAX do not count",
              "INS_VMFUNC_EAX_32BIT VMF_RAX_HIGH_IGNORED", "host64"),
          .rax = 0xffffffff00000000, .outcome = SWITCHES },
        { ROW("cpl3", "no CPL is checked", "INS_VMFUNC_CPL3 VMF_CPL_ANY", NULL),
          .cpl3 = true, .outcome = SWITCHES },
        { ROW("lock", "#UD with LOCK", "INS_VMFUNC_LOCK VMF_UD_PREFIX", NULL),
          .prefix = 0xf0, .outcome = UD },
        { ROW("66", "#UD with prefix 66H", "INS_PREFIX_VMFUNC VMF_UD_PREFIX", NULL),
          .prefix = 0x66, .outcome = UD },
        { ROW("f2", "#UD with prefix F2H", "INS_PREFIX_VMFUNC VMF_UD_PREFIX", NULL),
          .prefix = 0xf2, .outcome = UD },
        { ROW("f3", "#UD with prefix F3H", "INS_PREFIX_VMFUNC VMF_UD_PREFIX", NULL),
          .prefix = 0xf3, .outcome = UD },
#define MODE(id, title, mode_, needs)                                          \
        { ROW("mode." id, title ", function 0", "INS_VMFUNC_MODES VMF_MODE_ANY", needs), \
          .mode = mode_, .outcome = SWITCHES },                                \
        { ROW("mode." id ".64", title ", EAX = 64", "INS_VMFUNC_MODES VMF_MODE_ANY", \
              needs), .mode = mode_, .rax = 64, .outcome = UD }
        MODE("long", "64-bit mode", GUEST_LONG, "host64"),
        MODE("compat", "compatibility mode", GUEST_COMPAT, "host64"),
        MODE("pae", "protected mode", GUEST_PAE, NULL),
        MODE("v86", "virtual-8086 mode", GUEST_V86, NULL),
        MODE("real", "real-address mode", GUEST_REAL, "unrestricted-guest"),
};

/* The accepted side of each: the same guest's function 0. */
TABLE(call, calls, .id = "vmfunc", .title = "VMFUNC", .sdm = SDM, .needs = NEEDS)
{
        const struct call *c = case_row(self, row);
        struct code code = { 0 };
        struct views v = views_begin(c->mode);
        struct vmx_result r;

        CHECK_RESULT("function 0", views_switch(&v, 0, 0), EXITS(EXIT_VMCALL));
        CHECK_EQ("EPTP", vmread(VMCS_EPTP), v.list[0]);

        v = views_begin(c->mode);
        if (c->cpl3)
                raw_guest_cpl3(v.vm);
        if (c->off)
                vm_control(VMCS_SECONDARY_CONTROLS, 0, CTL_SECONDARY_ENABLE_VM_FUNCTIONS);
        if (c->secondary_off)
                vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_ACTIVATE_SECONDARY);
        if (c->function_off)
                vmwrite(VMCS_VM_FUNCTION_CONTROLS, 0);
        if (c->prefix)
                CODE_ADD(&code, c->prefix);
        code_insn(&code, INSN_VMFUNC);
        v.vm->regs.rcx = 0;
        r = raw_guest(v.vm, &code, (ulong)c->rax);
        check_result(__FILE__, (int)self->line, "VMFUNC", r, c->outcome);
        CHECK_EQ("EPTP", vmread(VMCS_EPTP),
                 r.kind == VMX_EXIT && r.code == EXIT_VMCALL ? v.list[0] : v.eptp);
        if (r.kind == VMX_EXIT && r.code == EXIT_VMFUNC) {
                CHECK_EQ("VM-exit instruction length",
                         vmread(VMCS_EXIT_INSTRUCTION_LENGTH), code.size);
                CHECK_EQ("guest RIP", vmread(VMCS_GUEST_RIP), v.vm->entry_rip);
        }
}

struct place {
        struct row head;
        enum raw_mode mode;
        bool root;
};

static const struct place places[] = {
        { ROW("outside", "outside VMX operation", "INS_VMFUNC_UD_OUTSIDE", NULL),
          RAW_NATIVE, false },
        { ROW("outside.cpl3", "outside VMX operation at CPL 3", "INS_VMFUNC_UD_OUTSIDE",
              NULL), RAW_CPL3, false },
        { ROW("root", "in VMX root operation", "INS_VMFUNC_UD_ROOT", NULL),
          RAW_NATIVE, true },
        { ROW("root.cpl3", "in VMX root operation at CPL 3", "INS_VMFUNC_UD_ROOT", NULL),
          RAW_CPL3, true },
};

/* EAX = 0, with which a guest can do it: the table above. */
TABLE(place, places, .id = "vmfunc.not-in-guest", .title = "#UD but in a guest",
      .sdm = SDM_VMFUNC, .rules = "VMF_UD_OUTSIDE_NONROOT")
{
        const struct place *p = case_row(self, row);
        struct code code = { 0 };

        code_insn(&code, INSN_VMFUNC);
        if (p->root) {
                vm_begin(GUEST_NATIVE);
        } else {
                vmx_off();
                vmx_prepare();
        }
        CHECK_RESULT("VMFUNC", raw_run(p->mode, &code, 0), FAULT(VEC_UD));
}

CASE(absent, .id = "vmfunc.absent", .title = "#UD on a processor without VM functions",
     .sdm = SDM, .rules = "VMF_UD_UNSUPPORTED_CPU INS_VMFUNC_UD_DISABLED",
     .needs = "!enable-vm-functions")
{
        struct code code = { 0 };

        code_insn(&code, INSN_VMFUNC);
        CHECK_RESULT("VMFUNC in a guest", raw_guest(vm_begin(GUEST_NATIVE), &code, 0),
                     FAULT(VEC_UD));
}
