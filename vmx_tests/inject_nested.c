/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection: exceptions that
 * delivery of an injected event meets, and that are delivered in the guest: as
 * they are, or as a double fault. Exits because of them: inject_faults.c.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"
#define CONTEXT "VM Entries > Vectored-Event Injection"

/* What is wrong with the vector's gate, or with what it leads to. */
enum trouble {
        GATE_NOT_PRESENT,     /* #NP(IDT entry) */
        GATE_TYPE_0,          /* #GP(IDT entry) */
        GATE_CALL,
        GATE_16_BIT,          /* in IA-32e mode */
        IDT_LIMIT,
        CS_NULL,              /* #GP(0) */
        CS_BEYOND,            /* #GP(selector) */
        CS_ABSENT,            /* #NP(selector) */
        CS_DATA,              /* #GP(selector) */
        CS_DPL_3,             /* #GP(selector): DPL above CPL */
        CS_32_BIT,            /* #GP(selector): not of 64 bits, in IA-32e mode */
        CS_BOTH,              /* #GP(selector): L = D = 1, there */
        CS_PAGED_OUT,         /* #PF: the GDT's second page is not present */
};

#define SEL_BEYOND (SEL_SPARE + DESC_SPARE * 8)
#define SEL_PAGED_OUT 0x1008

static void make_trouble(struct vm *vm, const struct vm_tables *t, u8 vector,
                         enum trouble trouble)
{
        u8 *rights = vm_gate(t, vector) + GATE_RIGHTS;
        u64 spare = DESC_S | (t->gate_size == 16 ? DESC_L : DESC_DB | DESC_G);

        switch (trouble) {
        case GATE_NOT_PRESENT:
                *rights = GATE_INTERRUPT;
                break;
        case GATE_TYPE_0:
                *rights = GATE_P;
                break;
        case GATE_CALL:
                *rights = GATE_P | 0x0c;
                break;
        case GATE_16_BIT:
                *rights = GATE_P | 0x06;
                break;
        case IDT_LIMIT:
                vmwrite(VMCS_GUEST_IDTR_LIMIT, (vector + 1) * t->gate_size - 2);
                break;
        case CS_NULL:
                vm_gate_selector(t, vector, 0);
                break;
        case CS_BEYOND:
                vm_gate_selector(t, vector, SEL_BEYOND);
                break;
        case CS_ABSENT:
                t->gdt[SEL_SPARE / 8] = desc_make(0, 0xfffff, spare | DESC_TYPE(11));
                vm_gate_selector(t, vector, SEL_SPARE);
                break;
        case CS_DATA:
                vm_gate_selector(t, vector, SEL_DATA);
                break;
        case CS_DPL_3:
                t->gdt[SEL_SPARE / 8] = desc_make(0, 0xfffff, spare | DESC_P |
                                                  DESC_TYPE(11) | DESC_DPL(3));
                vm_gate_selector(t, vector, SEL_SPARE);
                break;
        case CS_32_BIT:
                vm_gate_selector(t, vector, SEL_CODE32);
                break;
        case CS_BOTH:
                t->gdt[SEL_SPARE / 8] = desc_make(0, 0xfffff, spare | DESC_P |
                                                  DESC_TYPE(11) | DESC_DB);
                vm_gate_selector(t, vector, SEL_SPARE);
                break;
        case CS_PAGED_OUT:
                vmwrite(VMCS_GUEST_GDTR_LIMIT, 0x1fff);
                *vm_pte(vm, (u8 *)t->gdt + PAGE_SIZE) = 0;
                vm_gate_selector(t, vector, SEL_PAGED_OUT);
                break;
        }
}

struct nested {
        struct row head;
        u32 info;
        u8 trouble;
        u8 vector;            /* of what is delivered */
        u16 error;
        u8 also;              /* this vector's gate is not present too */
        bool user;            /* CPL 3 */
};

/* The error code that names an IDT entry. */
#define IDT(vector, ext) ((vector) << 3 | ERR_IDT | (ext))

static const struct nested nested[] = {
        { ROW("not-present.external", "external interrupt, gate not present",
              "INJ_NESTED_NOT_PRESENT INJ_NESTED_EXT_SET INJ_NESTED_BENIGN_SERIAL"),
          EXTERNAL(0x30), GATE_NOT_PRESENT, VEC_NP, IDT(0x30, 1) },
        { ROW("not-present.nmi", "NMI, gate not present",
              "INJ_NESTED_NOT_PRESENT INJ_NESTED_EXT_SET INJ_NESTED_BENIGN_SERIAL"),
          NMI, GATE_NOT_PRESENT, VEC_NP, IDT(2, 1) },
        { ROW("not-present.exception", "#UD, gate not present",
              "INJ_NESTED_NOT_PRESENT INJ_NESTED_EXT_SET INJ_NESTED_BENIGN_SERIAL"),
          HARDWARE(VEC_UD), GATE_NOT_PRESENT, VEC_NP, IDT(6, 1) },
        { ROW("not-present.db", "#DB, gate not present", "INJ_NESTED_BENIGN_SERIAL"),
          HARDWARE(VEC_DB), GATE_NOT_PRESENT, VEC_NP, IDT(1, 1) },
        { ROW("not-present.mc", "#MC, gate not present", "INJ_NESTED_BENIGN_SERIAL"),
          HARDWARE(VEC_MC), GATE_NOT_PRESENT, VEC_NP, IDT(18, 1) },
        { ROW("not-present.ac", "#AC, gate not present", "INJ_NESTED_BENIGN_SERIAL"),
          HARDWARE_CODE(VEC_AC), GATE_NOT_PRESENT, VEC_NP, IDT(17, 1) },
        { ROW("not-present.int-n", "INT 30H, gate not present",
              "INJ_NESTED_NOT_PRESENT INJ_NESTED_EXT_CLEAR "
              "INJ_NESTED_RIP_NOT_ADVANCED INJ_NESTED_BENIGN_SERIAL"),
          INT_N(0x30), GATE_NOT_PRESENT, VEC_NP, IDT(0x30, 0) },
        { ROW("not-present.int1", "INT1, gate not present",
              "INJ_NESTED_EXT_SET INJ_NESTED_RIP_NOT_ADVANCED "
              "INJ_NESTED_BENIGN_SERIAL"),
          INT1_TRAP, GATE_NOT_PRESENT, VEC_NP, IDT(1, 1) },
        { ROW("not-present.int3", "INT3, gate not present",
              "INJ_NESTED_EXT_CLEAR INJ_NESTED_RIP_NOT_ADVANCED "
              "INJ_NESTED_BENIGN_SERIAL"),
          SOFTWARE(3), GATE_NOT_PRESENT, VEC_NP, IDT(3, 0) },
        { ROW("not-present.into", "INTO, gate not present",
              "INJ_NESTED_EXT_CLEAR INJ_NESTED_RIP_NOT_ADVANCED"),
          SOFTWARE(4), GATE_NOT_PRESENT, VEC_NP, IDT(4, 0) },
        { ROW("type.0.external", "external interrupt, gate of type 0",
              "INJ_NESTED_BAD_GATE_TYPE INJ_NESTED_BENIGN_SERIAL"),
          EXTERNAL(0x30), GATE_TYPE_0, VEC_GP, IDT(0x30, 1) },
        { ROW("type.0.int-n", "INT 30H, gate of type 0",
              "INJ_NESTED_BAD_GATE_TYPE INJ_NESTED_RIP_NOT_ADVANCED"),
          INT_N(0x30), GATE_TYPE_0, VEC_GP, IDT(0x30, 0) },
        { ROW("type.call.exception", "#UD through a call gate",
              "INJ_NESTED_BAD_GATE_TYPE"),
          HARDWARE(VEC_UD), GATE_CALL, VEC_GP, IDT(6, 1) },
        { ROW("type.16-bit.exception", "#UD through a 16-bit gate in IA-32e mode",
              "INJ_NESTED_BAD_GATE_TYPE", "host64"),
          HARDWARE(VEC_UD), GATE_16_BIT, VEC_GP, IDT(6, 1) },
        { ROW("limit.external", "external interrupt, gate beyond the IDT limit",
              "INJ_NESTED_IDT_LIMIT"),
          EXTERNAL(0x30), IDT_LIMIT, VEC_GP, IDT(0x30, 1) },
        { ROW("limit.exception", "exception 31, gate beyond the IDT limit",
              "INJ_NESTED_IDT_LIMIT"),
          HARDWARE(31), IDT_LIMIT, VEC_GP, IDT(31, 1) },
        { ROW("limit.int-n", "INT 30H, gate beyond the IDT limit",
              "INJ_NESTED_IDT_LIMIT INJ_NESTED_EXT_CLEAR"),
          INT_N(0x30), IDT_LIMIT, VEC_GP, IDT(0x30, 0) },
        { ROW("cs.null", "the gate's selector is null", "INJ_NESTED_BAD_CS"),
          EXTERNAL(0x30), CS_NULL, VEC_GP, 1 },
        { ROW("cs.null-int-n", "INT n, the gate's selector is null",
              "INJ_NESTED_BAD_CS"),
          INT_N(0x30), CS_NULL, VEC_GP, 0 },
        { ROW("cs.beyond", "the gate's selector is beyond the GDT",
              "INJ_NESTED_BAD_CS"),
          HARDWARE(VEC_UD), CS_BEYOND, VEC_GP, SEL_BEYOND | 1 },
        { ROW("cs.beyond-int-n", "INT n, the gate's selector is beyond the GDT",
              "INJ_NESTED_BAD_CS"),
          INT_N(0x30), CS_BEYOND, VEC_GP, SEL_BEYOND },
        { ROW("cs.not-present", "the handler's segment is not present",
              "INJ_NESTED_BAD_CS"),
          NMI, CS_ABSENT, VEC_NP, SEL_SPARE | 1 },
        { ROW("cs.data", "the gate's selector is of a data segment",
              "INJ_NESTED_BAD_CS"),
          EXTERNAL(0x30), CS_DATA, VEC_GP, SEL_DATA | 1 },
        { ROW("cs.dpl", "the handler's segment has a DPL above the CPL",
              "INJ_NESTED_BAD_CS"),
          EXTERNAL(0x30), CS_DPL_3, VEC_GP, SEL_SPARE | 1 },
        { ROW("cs.32-bit", "the handler's segment has L = 0, in IA-32e mode",
              "INJ_NESTED_BAD_CS", "host64"),
          HARDWARE(VEC_UD), CS_32_BIT, VEC_GP, SEL_CODE32 | 1 },
        { ROW("cs.both", "the handler's segment has L = D = 1, in IA-32e mode",
              "INJ_NESTED_BAD_CS", "host64"),
          EXTERNAL(0x30), CS_BOTH, VEC_GP, SEL_SPARE | 1 },
        { ROW("user.not-present", "external interrupt at CPL 3, gate not present",
              "INJ_NESTED_NOT_PRESENT INJ_PRIVILEGE_CHANGE"),
          EXTERNAL(0x30), GATE_NOT_PRESENT, VEC_NP, IDT(0x30, 1), .user = true },
        { ROW("user.page-fault", "a page fault at CPL 3 is one of the supervisor's",
              "INJ_NESTED_BENIGN_SERIAL INJ_PRIVILEGE_CHANGE"),
          EXTERNAL(0x30), CS_PAGED_OUT, VEC_PF, 0, .user = true },
        { ROW("user.double-fault", "#NP after #GP at CPL 3 is #DF",
              "INJ_NESTED_CONTRIB_CONTRIB INJ_PRIVILEGE_CHANGE"),
          HARDWARE_CODE(VEC_GP), GATE_NOT_PRESENT, VEC_DF, 0, .user = true },
        { ROW("page-fault.external", "a page fault is delivered after an interrupt",
              "INJ_NESTED_BENIGN_SERIAL"),
          EXTERNAL(0x30), CS_PAGED_OUT, VEC_PF, 0 },
        { ROW("page-fault.contributory", "a page fault is delivered after #GP",
              "INJ_NESTED_CONTRIB_CONTRIB"),
          HARDWARE_CODE(VEC_GP), CS_PAGED_OUT, VEC_PF, 0 },
        { ROW("page-fault.de", "a page fault is delivered after #DE",
              "INJ_NESTED_CONTRIB_CONTRIB"),
          HARDWARE(VEC_DE), CS_PAGED_OUT, VEC_PF, 0 },
        { ROW("double-fault.de", "#NP after #DE is #DF", "INJ_NESTED_CONTRIB_CONTRIB"),
          HARDWARE(VEC_DE), GATE_NOT_PRESENT, VEC_DF, 0 },
        { ROW("double-fault.ts", "#NP after #TS is #DF", "INJ_NESTED_CONTRIB_CONTRIB"),
          HARDWARE_CODE(VEC_TS), GATE_NOT_PRESENT, VEC_DF, 0 },
        { ROW("double-fault.np", "#GP after #NP is #DF", "INJ_NESTED_CONTRIB_CONTRIB"),
          HARDWARE_CODE(VEC_NP), CS_BEYOND, VEC_DF, 0 },
        { ROW("double-fault.ss", "#NP after #SS is #DF", "INJ_NESTED_CONTRIB_CONTRIB"),
          HARDWARE_CODE(VEC_SS), GATE_NOT_PRESENT, VEC_DF, 0 },
        { ROW("double-fault.gp", "#NP after #GP is #DF, error code 0",
              "INJ_NESTED_CONTRIB_CONTRIB INJ_DF_ERROR_CODE_ZERO"),
          HARDWARE_CODE(VEC_GP), GATE_NOT_PRESENT, VEC_DF, 0 },
        { ROW("double-fault.pf", "#NP after #PF is #DF", "INJ_NESTED_PF_CONTRIB_OR_PF"),
          HARDWARE_CODE(VEC_PF), GATE_NOT_PRESENT, VEC_DF, 0 },
        { ROW("double-fault.pf-gp", "#GP after #PF is #DF", "INJ_NESTED_PF_CONTRIB_OR_PF"),
          HARDWARE_CODE(VEC_PF), CS_BEYOND, VEC_DF, 0 },
        { ROW("double-fault.pf-pf", "#PF after #PF is #DF", "INJ_NESTED_PF_CONTRIB_OR_PF"),
          HARDWARE_CODE(VEC_PF), CS_PAGED_OUT, VEC_DF, 0 },
        { ROW("double-fault.ve", "#NP after #VE is #DF", "INJ_NESTED_VE_SEVERITY",
              "ept-violation-ve"),
          HARDWARE(VEC_VE), GATE_NOT_PRESENT, VEC_DF, 0 },
        { ROW("double-fault.ve-pf", "#PF after #VE is #DF", "INJ_NESTED_VE_SEVERITY",
              "ept-violation-ve"),
          HARDWARE(VEC_VE), CS_PAGED_OUT, VEC_DF, 0 },
        { ROW("not-present.ve-absent", "vector 20 is benign where there is no #VE",
              "INJ_NESTED_VE_SEVERITY", "!ept-violation-ve"),
          HARDWARE(VEC_VE), GATE_NOT_PRESENT, VEC_NP, IDT(20, 1) },
        { ROW("double-fault.cp", "#NP after #CP is #DF", "INJ_NESTED_CP_SEVERITY",
              "cet-ss|cet-ibt error-code-optional"),
          HARDWARE_CODE(VEC_CP), GATE_NOT_PRESENT, VEC_DF, 0 },
        { ROW("page-fault.cp", "#PF is delivered after #CP", "INJ_NESTED_CP_SEVERITY",
              "cet-ss|cet-ibt error-code-optional"),
          HARDWARE_CODE(VEC_CP), CS_PAGED_OUT, VEC_PF, 0 },
        { ROW("class.external", "external interrupt 10 is not #TS: #NP is delivered",
              "INJ_NESTED_EXTINT_VECTOR_NOT_EXCEPTION_CLASS"),
          EXTERNAL(10), GATE_NOT_PRESENT, VEC_NP, IDT(10, 1) },
        { ROW("class.external-gp", "external interrupt 13 is not #GP: #NP is delivered",
              "INJ_NESTED_EXTINT_VECTOR_NOT_EXCEPTION_CLASS"),
          EXTERNAL(13), GATE_NOT_PRESENT, VEC_NP, IDT(13, 1) },
        { ROW("class.int-n-pf", "INT 14 is not #PF: #NP is delivered",
              "INJ_NESTED_EXTINT_VECTOR_NOT_EXCEPTION_CLASS"),
          INT_N(14), GATE_NOT_PRESENT, VEC_NP, IDT(14, 0) },
        { ROW("chain.int-n", "#DF after INT n saves the RIP of the guest",
              "INJ_DF_RIP_UNADVANCED INJ_DF_ERROR_CODE_ZERO"),
          INT_N(0x30), GATE_NOT_PRESENT, VEC_DF, 0, VEC_NP },
        { ROW("chain.int3", "#DF after INT3 saves the RIP of the guest",
              "INJ_DF_RIP_UNADVANCED"),
          SOFTWARE(3), GATE_NOT_PRESENT, VEC_DF, 0, VEC_NP },
        { ROW("chain.int1", "#DF after INT1 saves the RIP of the guest",
              "INJ_DF_RIP_UNADVANCED"),
          INT1_TRAP, GATE_NOT_PRESENT, VEC_DF, 0, VEC_NP },
};

static struct vm *begin(const struct nested *n, struct vm_tables *t)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        *t = vm_tables(vm);
        if (n->user)
                vm_user(vm);
        vm_inject(n->info, 0x5a & ~1u, 2);
        vm_poison(0);
        return vm;
}

/* The frame holds the RIP as it was, even where 2 bytes would be skipped. */
TABLE(delivered, nested, .id = "inject.nested",
      .title = "an exception that delivery of an injected event meets is delivered",
      .sdm = SDM)
{
        const struct nested *n = &nested[row];
        ulong rip = (ulong)program_vmcall.start;
        bool software = (n->info & 0x700) >= 0x400;
        struct vm_tables t;
        struct vm *vm = begin(n, &t);

        if (n->trouble == IDT_LIMIT)
                vmwrite(VMCS_GUEST_IDTR_LIMIT,
                        ((u8)n->info + 1u) * t.gate_size - 1);
        CHECK_DELIVERED("without trouble", vm, vm_enter(vm),
                        .vector = (u8)n->info,
                        .has_error = n->info & EVENT_HAS_ERROR, .error = 0x5a,
                        .rip = rip + (software ? 2 : 0));
        vm = begin(n, &t);
        make_trouble(vm, &t, (u8)n->info, (enum trouble)n->trouble);
        if (n->also)
                vm_gate(&t, n->also)[GATE_RIGHTS] = GATE_INTERRUPT;
        CHECK_DELIVERED("with a nested exception", vm, vm_enter(vm),
                        .vector = n->vector, .has_error = true,
                        .error = n->error, .rip = rip);
        if (n->vector == VEC_PF)
                CHECK_EQ("CR2 / 8", read_cr2() / 8,
                         ((ulong)t.gdt + SEL_PAGED_OUT) / 8);
}

/*
 * A frame that can not be pushed. In 64-bit mode the fault's own gate has a
 * stack by IST.
 */
enum stack { STACK_NOT_CANONICAL, STACK_NOT_PRESENT, STACK_READ_ONLY };

static const struct {
        struct row head;
        u32 info;
        u8 stack;
        u8 vector, error;
} stacks[] = {
        { ROW("not-canonical.external", "RSP is not canonical, external interrupt"),
          EXTERNAL(0x30), STACK_NOT_CANONICAL, VEC_SS, 1 },
        { ROW("not-canonical.int-n", "RSP is not canonical, INT n"),
          INT_N(0x30), STACK_NOT_CANONICAL, VEC_SS, 0 },
        { ROW("not-present.external", "the stack's page is not present"),
          EXTERNAL(0x30), STACK_NOT_PRESENT, VEC_PF, PF_W },
        { ROW("not-present.int3", "the stack's page is not present, INT3"),
          SOFTWARE(3), STACK_NOT_PRESENT, VEC_PF, PF_W },
        { ROW("read-only.nmi", "the stack's page is read-only, NMI"),
          NMI, STACK_READ_ONLY, VEC_PF, PF_W | PF_P },
};

TABLE(stack, stacks, .id = "inject.nested.stack",
      .title = "a frame that can not be pushed is #SS or #PF, with the guest's RIP",
      .sdm = SDM, .rules = "INJ_NESTED_STACK INJ_NESTED_BENIGN_SERIAL",
      .needs = "host64")
{
        struct vm *vm = vm_begin(GUEST_LONG);
        struct vm_tables t = vm_tables(vm);
        ulong own = (ulong)page_alloc(1) + PAGE_SIZE, at;
        ulong rsp = (ulong)page_alloc(1) + PAGE_SIZE;
        u64 *pte;

        memcpy(t.tss + 0x24, &own, sizeof(own));
        vm_gate(&t, stacks[row].vector)[GATE_IST] = 1;
        vm_control(VMCS_GUEST_CR0, CR0_WP, 0);
        if (stacks[row].stack == STACK_NOT_CANONICAL) {
                rsp = (ulong)BIT(62);
        } else {
                pte = vm_pte(vm, (u8 *)rsp - 1);
                *pte = stacks[row].stack == STACK_READ_ONLY ? *pte & ~PTE_W : 0;
        }
        vmwrite(VMCS_GUEST_RSP, rsp);
        vm_inject(stacks[row].info, 0, 2);
        write_cr2(0);
        vm_poison(0);
        CHECK_EXIT("the fault's handler", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, stacks[row].vector));
        CHECK_VMCS(GUEST_RSP, own - 48);
        CHECK_EQ("error code", vm_stack(vm, 0), stacks[row].error);
        CHECK_EQ("RIP in the frame", vm_stack(vm, 1),
                 (ulong)program_vmcall.start);
        CHECK_EQ("RSP in the frame", vm_stack(vm, 4), rsp);
        at = read_cr2();
        if (stacks[row].vector == VEC_PF)
                CHECK("CR2 is in the frame", rsp - 40 <= at && at < rsp,
                      "CR2 0x%llx, RSP 0x%llx", (unsigned long long)at,
                      (unsigned long long)rsp);
}
