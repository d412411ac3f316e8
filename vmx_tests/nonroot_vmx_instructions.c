/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits, the VMX
 * instructions: a guest's exit, before the CPL and the operand are looked at,
 * and after what makes them undefined.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/raw.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits Unconditionally"
#define SDM_PRIORITY "VMX Non-Root Operation > Relative Priority of Faults and VM Exits"

/* Where the operand is; what a faulting one would raise does not happen. */
enum operand { ACCESSIBLE, NOT_PRESENT, NOT_CANONICAL, DISPLACED, REGISTER };

struct exiting {
        struct row head;
        u8 insn;            /* enum insn_id */
        u8 operand;         /* of those that have one */
        bool cpl3;
        u32 field;          /* VMREAD and VMWRITE, in CX */
};

#define DISPLACEMENT 0x12340u

#define EXITING(N, id, title, rules, needs, ...) \
        { ROW(id, #N title, "INS_" #N "_NONROOT_EXIT" rules, needs), .insn = INSN_##N, \
          __VA_ARGS__ }
#define CPL_RULE " INS_PRIO_EXIT_OVER_CPL"
#define MEM_RULE " INS_PRIO_EXIT_OVER_MEMFAULT"

#define PLAIN_ROWS(N, id)                                                     \
        EXITING(N, id ".cpl0", " at CPL 0", , NULL),                          \
        EXITING(N, id ".cpl3", " at CPL 3", CPL_RULE, NULL, .cpl3 = true)
#define MEMORY_ROWS(N, id, needs)                                             \
        EXITING(N, id ".cpl0", " at CPL 0", , needs),                         \
        EXITING(N, id ".cpl3", " at CPL 3", CPL_RULE, needs, .cpl3 = true),   \
        EXITING(N, id ".not-present", ", operand not present", MEM_RULE, needs, \
                .operand = NOT_PRESENT),                                      \
        EXITING(N, id ".not-present.cpl3", " at CPL 3, operand not present",  \
                CPL_RULE MEM_RULE, needs, .operand = NOT_PRESENT, .cpl3 = true), \
        EXITING(N, id ".not-canonical", ", operand not canonical", MEM_RULE,  \
                "host64 " needs, .operand = NOT_CANONICAL),                   \
        EXITING(N, id ".displacement", ", an operand with displacement", ,    \
                needs, .operand = DISPLACED)

static const struct exiting exiting[] = {
        PLAIN_ROWS(VMCALL, "vmcall"),
        PLAIN_ROWS(VMXOFF, "vmxoff"),
        PLAIN_ROWS(VMLAUNCH, "vmlaunch"),
        PLAIN_ROWS(VMRESUME, "vmresume"),
        MEMORY_ROWS(VMXON, "vmxon", ""),
        MEMORY_ROWS(VMCLEAR, "vmclear", ""),
        MEMORY_ROWS(VMPTRLD, "vmptrld", ""),
        MEMORY_ROWS(VMPTRST, "vmptrst", ""),
        MEMORY_ROWS(INVEPT, "invept", "invept"),
        MEMORY_ROWS(INVVPID, "invvpid", "invvpid"),
};

#define ACCESS(N, id, title, rules, needs, ...)                               \
        { ROW(id, #N title, "INS_" #N "_NONROOT_EXIT_NOSHADOW" rules, needs), \
          .insn = INSN_##N, __VA_ARGS__ }
#define ACCESS_ROWS(N, id)                                                    \
        ACCESS(N, id ".register", ", register operand", , NULL,               \
               .operand = REGISTER, .field = VMCS_GUEST_RIP),                 \
        ACCESS(N, id ".register.cpl3", " at CPL 3, register operand", CPL_RULE, \
               NULL, .operand = REGISTER, .cpl3 = true, .field = VMCS_GUEST_RIP), \
        ACCESS(N, id ".register.unsupported", " of no field", , NULL,         \
               .operand = REGISTER, .field = 0x03fe),                         \
        ACCESS(N, id ".memory", ", memory operand", , NULL,                   \
               .field = VMCS_GUEST_RIP),                                      \
        ACCESS(N, id ".memory.cpl3", " at CPL 3, memory operand", CPL_RULE,   \
               NULL, .cpl3 = true, .field = VMCS_GUEST_RIP),                  \
        ACCESS(N, id ".not-present", ", operand not present", MEM_RULE, NULL, \
               .operand = NOT_PRESENT, .field = VMCS_GUEST_RIP),              \
        ACCESS(N, id ".not-canonical", ", operand not canonical", MEM_RULE,   \
               "host64", .operand = NOT_CANONICAL, .field = VMCS_GUEST_RIP),  \
        ACCESS(N, id ".displacement", ", an operand with displacement", ,     \
               NULL, .operand = DISPLACED, .field = VMCS_GUEST_RIP)

static const struct exiting accesses[] = {
        ACCESS_ROWS(VMREAD, "vmread"),
        ACCESS_ROWS(VMWRITE, "vmwrite"),
};

#define NUMBER_CX 1u
#define NUMBER_DX 2u
#define SEGMENT_DS 3u

/*
 * VM-exit instruction information: SDM, VM Exits > Information for VM Exits Due
 * to Instruction Execution. The bits that an instruction defines.
 */
static void check_information(const struct exiting *e)
{
        bool has_register = e->insn == INSN_VMREAD || e->insn == INSN_VMWRITE ||
                            e->insn == INSN_INVEPT || e->insn == INSN_INVVPID;
        u32 want, mask;

        if (e->operand == REGISTER) {
                want = NUMBER_DX << 3 | 1u << 10 | NUMBER_CX << 28;
                mask = 15u << 3 | 1u << 10 | 15u << 28;
        } else {
                /* Base AX (0), no index. */
                want = (sizeof(ulong) == 8 ? 2u : 1u) << 7 | SEGMENT_DS << 15 | 1u << 22;
                mask = 7u << 7 | 1u << 10 | 7u << 15 | 1u << 22 | 15u << 23 | 1u << 27;
        }
        if (has_register) {
                want |= NUMBER_CX << 28;
                mask |= 15u << 28;
        }
        CHECK_VMCS_MASKED(EXIT_INSTRUCTION_INFO, want, mask);
}

/* The instruction, behind what loads CX. */
static u8 assemble(struct code *code, const struct exiting *e)
{
        static const u32 displacement = DISPLACEMENT;
        u8 before, *modrm;

        CODE_ADD(code, 0xb9);                                   /* mov CX */
        code_add(code, &e->field, sizeof(e->field));
        before = code->size;
        code_insn(code, e->insn);
        modrm = &code->bytes[code->size - 1];
        if (e->operand == REGISTER)
                *modrm = 0xc0 | NUMBER_CX << 3 | NUMBER_DX;
        if (e->operand == DISPLACED) {
                *modrm |= 0x80;
                code_add(code, &displacement, sizeof(displacement));
        }
        return before;
}

static void check_exits(const struct exiting *e)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        ulong *operand = page_alloc(1), address = (ulong)operand;
        struct code code = { 0 };
        u8 before = assemble(&code, e);
        struct vmx_result want = { .kind = VMX_EXIT, .code = insns[e->insn].exit,
                                   .has_info = e->operand != REGISTER };
        struct vmx_result r;
        ulong dx;

        if (e->cpl3)
                raw_guest_cpl3(vm);
        if (e->operand == NOT_PRESENT) {
                vm_paging_hole(vm);
                address = GUEST_HOLE;
        } else if (e->operand == NOT_CANONICAL) {
                address = (ulong)BIT(63);
        } else if (e->operand == DISPLACED) {
                want.info = DISPLACEMENT;
                address -= DISPLACEMENT;
        }
        vm_control(VMCS_GUEST_RFLAGS, VMX_FLAGS, 0);
        operand[0] = 0x1234;
        dx = vm->regs.rdx;
        r = raw_guest(vm, &code, address);
        if (!check_exit(__FILE__, __LINE__, "a guest's VMX instruction", r, want))
                return;
        CHECK_VMCS(GUEST_RIP, vm->entry_rip + before);
        CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, (u64)code.size - before);
        CHECK_VMCS_MASKED(GUEST_RFLAGS, VMX_FLAGS, VMX_FLAGS);
        if (insns[e->insn].modrm)
                check_information(e);
        CHECK_EQ("the memory operand", operand[0], 0x1234);
        CHECK_EQ("the register operand", vm->regs.rdx, dx);
}

TABLE(unconditional, exiting, .id = "nonroot",
      .title = "a VMX instruction always exits", .sdm = SDM)
{
        check_exits(case_row(self, row));
}

TABLE(conditional, accesses, .id = "nonroot",
      .title = "it always exits without VMCS shadowing",
      .sdm = "VMX Non-Root Operation > Instructions That Cause VM Exits Conditionally")
{
        check_exits(case_row(self, row));
}

CASE(vmxe_shadow, .id = "nonroot.vmxon.vmxe-shadow",
     .title = "VMXON exits though the guest reads CR4.VMXE as 0", .sdm = SDM,
     .rules = "INS_VMXON_NONROOT_VMXE_SHADOW")
{
        for (unsigned shadow = 0; shadow < 2; shadow++) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                struct code code = { 0 };

                vmwrite(VMCS_CR4_GUEST_HOST_MASK, CR4_VMXE);
                vmwrite(VMCS_CR4_READ_SHADOW, shadow ? CR4_VMXE : 0);
                code_insn(&code, INSN_VMXON);
                CHECK_EXIT("VMXON", raw_guest(vm, &code, (ulong)page_alloc(1)),
                           EXITS(EXIT_VMXON));
        }
}

struct undefined {
        struct row head;
        enum guest_mode mode;
        bool lock;
};

static const struct undefined undefined[] = {
        { ROW("lock", "LOCK", NULL, NULL), GUEST_NATIVE, true },
        { ROW("v86", "virtual-8086 mode", NULL, NULL), GUEST_V86, false },
        { ROW("compat", "compatibility mode", NULL, "host64"), GUEST_COMPAT, false },
        { ROW("real", "real-address mode", NULL, "unrestricted-guest"), GUEST_REAL, false },
};

/* VMCALL exits in all modes; the instructions that may be absent are left out. */
TABLE(undefined_first, undefined, .id = "nonroot.undefined",
      .title = "what makes a VMX instruction undefined comes before the VM exit",
      .sdm = SDM_PRIORITY, .rules = "INS_PRIO_UD_OVER_EXIT")
{
        static const u8 ids[] = { INSN_VMXON, INSN_VMXOFF, INSN_VMCLEAR, INSN_VMPTRLD,
                                  INSN_VMPTRST, INSN_VMREAD, INSN_VMWRITE, INSN_VMLAUNCH,
                                  INSN_VMRESUME };
        const struct undefined *u = case_row(self, row);
        ulong operand = (ulong)page_alloc(1);

        for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
                struct code code = { 0 };

                code_insn(&code, ids[i]);
                CHECK_EXIT("where it is defined",
                           raw_guest(vm_begin(GUEST_NATIVE), &code, operand),
                           EXITS(insns[ids[i]].exit));
                code.size = 0;
                if (u->lock)
                        CODE_ADD(&code, 0xf0);
                code_insn(&code, ids[i]);
                CHECK_RESULT("where it is not", raw_guest(vm_begin(u->mode), &code, operand),
                             FAULT(VEC_UD));
        }
}
