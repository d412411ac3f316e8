/*
 * SDM Vol. 3, Secure-Arbitration Mode (SEAM) > SEAM Instruction Reference: the
 * four instructions without SEAM, and SEAMCALL and TDCALL where there is SEAM
 * but they go no further. No SEAM module is called.
 */
#include "lib/check.h"
#include "x86/msr.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/session.h"

#define SDM "Secure-Arbitration Mode (SEAM) > SEAM Instruction Reference"
#define MTRRCAP_SEAM BIT(15)

/* The last byte of 66 0F 01 xx. */
#define TDCALL 0xcc
#define SEAMRET 0xcd
#define SEAMOPS 0xce
#define SEAMCALL 0xcf

static bool has_seam(void)
{
        u64 value = 0;

        return cpuid_bit(1, 0, 'd', 12) &&
               !rdmsr_safe(MSR_IA32_MTRRCAP, &value).raised &&
               value & MTRRCAP_SEAM;
}

enum place { OUTSIDE, ROOT, GUEST };

struct seam_row {
        struct row head;
        u8 opcode, place, mode;
        bool guest_cpl3;
        struct vmx_result outcome;
};

static struct vmx_result execute(const struct seam_row *r)
{
        struct code code = { 0 };
        struct vm *vm;

        CODE_ADD(&code, 0x66, 0x0f, 0x01, r->opcode);
        if (r->place == GUEST) {
                vm = vm_begin((enum guest_mode)r->mode);
                if (r->guest_cpl3)
                        raw_guest_cpl3(vm);
                return raw_guest(vm, &code, 0);
        }
        if (r->place == OUTSIDE) {
                vmx_off();
                vmx_prepare();
        } else {
                vm_begin(GUEST_NATIVE);
        }
        return raw_run((enum raw_mode)r->mode, &code, 0);
}

#define ABSENT(ID, OPCODE)                                                    \
        { .head = { .id = ID ".outside", .title = #OPCODE " outside VMX" },   \
          .opcode = OPCODE, .place = OUTSIDE, .outcome = FAULT(VEC_UD) },     \
        { .head = { .id = ID ".root", .title = #OPCODE " in VMX root" },      \
          .opcode = OPCODE, .place = ROOT, .outcome = FAULT(VEC_UD) },        \
        { .head = { .id = ID ".guest", .title = #OPCODE " in a guest" },      \
          .opcode = OPCODE, .place = GUEST, .outcome = FAULT(VEC_UD) }

static const struct seam_row absent_rows[] = {
        ABSENT("seamcall", SEAMCALL), ABSENT("tdcall", TDCALL),
        ABSENT("seamops", SEAMOPS), ABSENT("seamret", SEAMRET),
};

TABLE(absent, absent_rows, .id = "seam.absent", .sdm = SDM,
      .title = "undefined without SEAM", .rules = "INS_SEAM_UD_UNSUPPORTED")
{
        const struct seam_row *r = case_row(self, row);

        if (has_seam())
                case_skip("SEAM is there");
        else
                CHECK_RESULT("the instruction", execute(r), r->outcome);
}

#define SEAM_ROW(ID, TITLE, RULE, NEEDS, OPCODE, PLACE, MODE, CPL3, ...)     \
        { .head = { ID, TITLE, RULE, NEEDS }, .opcode = OPCODE,              \
          .place = PLACE, .mode = MODE, .guest_cpl3 = CPL3,                  \
          .outcome = __VA_ARGS__ }

static const struct seam_row seam_rows[] = {
        SEAM_ROW("seamcall.outside", "SEAMCALL outside VMX operation",
                 "INS_SEAMCALL_UD_STATE", NULL, SEAMCALL, OUTSIDE, RAW_NATIVE,
                 false, FAULT(VEC_UD)),
        SEAM_ROW("seamcall.root.compat", "SEAMCALL in compatibility mode, root",
                 "INS_SEAMCALL_UD_STATE", "host64", SEAMCALL, ROOT, RAW_COMPAT,
                 false, FAULT(VEC_UD)),
        SEAM_ROW("seamcall.root.32", "SEAMCALL in 32-bit mode, root",
                 "INS_SEAMCALL_UD_STATE", "host32", SEAMCALL, ROOT, RAW_NATIVE,
                 false, FAULT(VEC_UD)),
        SEAM_ROW("seamcall.guest.compat", "SEAMCALL in a compatibility-mode guest",
                 "INS_SEAMCALL_UD_STATE", "host64", SEAMCALL, GUEST, GUEST_COMPAT,
                 false, FAULT(VEC_UD)),
        SEAM_ROW("seamcall.guest.32", "SEAMCALL in a 32-bit guest",
                 "INS_SEAMCALL_UD_STATE", NULL, SEAMCALL, GUEST, GUEST_PAE,
                 false, FAULT(VEC_UD)),
        SEAM_ROW("seamcall.root.cpl3", "SEAMCALL at CPL 3, root",
                 "INS_SEAMCALL_GP_CPL", "host64", SEAMCALL, ROOT, RAW_CPL3,
                 false, FAULT_CODE(VEC_GP, 0)),
        SEAM_ROW("seamcall.guest.cpl3", "SEAMCALL in a guest at CPL 3",
                 "INS_SEAMCALL_GP_CPL", "host64", SEAMCALL, GUEST, GUEST_LONG,
                 true, FAULT_CODE(VEC_GP, 0)),
        SEAM_ROW("seamcall.guest", "SEAMCALL in a guest",
                 "INS_SEAMCALL_NONROOT_EXIT INS_SEAMCALL_UD_STATE "
                 "INS_SEAMCALL_GP_CPL", "host64", SEAMCALL, GUEST, GUEST_LONG,
                 false, EXITS(EXIT_SEAMCALL)),
        SEAM_ROW("tdcall.outside", "TDCALL outside VMX operation",
                 "INS_TDCALL_UD_OUTSIDE_NONROOT", NULL, TDCALL, OUTSIDE,
                 RAW_NATIVE, false, FAULT(VEC_UD)),
        SEAM_ROW("tdcall.root", "TDCALL in VMX root operation",
                 "INS_TDCALL_UD_OUTSIDE_NONROOT", NULL, TDCALL, ROOT, RAW_NATIVE,
                 false, FAULT(VEC_UD)),
        SEAM_ROW("tdcall.root.cpl3", "TDCALL in VMX root operation at CPL 3",
                 "INS_TDCALL_UD_OUTSIDE_NONROOT", NULL, TDCALL, ROOT, RAW_CPL3,
                 false, FAULT(VEC_UD)),
        SEAM_ROW("tdcall.guest.cpl3", "TDCALL in a guest at CPL 3",
                 "INS_TDCALL_GP_CPL", NULL, TDCALL, GUEST, GUEST_NATIVE, true,
                 FAULT_CODE(VEC_GP, 0)),
        SEAM_ROW("tdcall.guest.v86", "TDCALL in a virtual-8086 guest",
                 "INS_TDCALL_GP_CPL", NULL, TDCALL, GUEST, GUEST_V86, false,
                 FAULT_CODE(VEC_GP, 0)),
        SEAM_ROW("tdcall.guest", "TDCALL in a guest", "INS_TDCALL_NONROOT_EXIT "
                 "INS_TDCALL_UD_OUTSIDE_NONROOT INS_TDCALL_GP_CPL", NULL, TDCALL,
                 GUEST, GUEST_NATIVE, false, EXITS(EXIT_TDCALL)),
        SEAM_ROW("tdcall.guest.compat", "TDCALL in a compatibility-mode guest",
                 "INS_TDCALL_NONROOT_EXIT", "host64", TDCALL, GUEST, GUEST_COMPAT,
                 false, EXITS(EXIT_TDCALL)),
        SEAM_ROW("tdcall.guest.32", "TDCALL in a 32-bit guest",
                 "INS_TDCALL_NONROOT_EXIT", NULL, TDCALL, GUEST, GUEST_PAE,
                 false, EXITS(EXIT_TDCALL)),
};

TABLE(present, seam_rows, .id = "seam", .sdm = SDM, .title = "with SEAM")
{
        const struct seam_row *r = case_row(self, row);

        if (!has_seam()) {
                case_skip("no SEAM (IA32_MTRRCAP[15])");
                return;
        }
        CHECK_RESULT("the instruction", execute(r), r->outcome);
        if (r->outcome.kind != VMX_EXIT)
                return;
        CHECK_EQ("guest RIP", vmread(VMCS_GUEST_RIP), this_vmx()->vm.entry_rip);
        CHECK_MASKED("guest's flags", vmread(VMCS_GUEST_RFLAGS), 0, VMX_FLAGS);
}
