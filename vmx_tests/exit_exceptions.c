/*
 * SDM Vol. 3, VMX Non-Root Operation > Other Causes of VM Exits: exceptions and
 * the exception bitmap; VM Exits > Information for VM Exits Due to Vectored
 * Events.
 */
#include "x86/cpu.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Other Causes of VM Exits"

/* Exiting-event identification. */
#define HARDWARE  (3u << 8)
#define SOFTWARE  (6u << 8)
#define HAS_CODE  BIT(11)
#define VALID     BIT(31)

PROGRAM(divide, NATIVE_BITS, "xor %ecx, %ecx\n div %ecx\n vmcall\n");
PROGRAM(undefined, NATIVE_BITS, "ud2\n vmcall\n");
PROGRAM(breakpoint, NATIVE_BITS, "int3\n vmcall\n");
PROGRAM(general_protection, NATIVE_BITS, "mov %cx, %ds\n vmcall\n");
PROGRAM(not_present, NATIVE_BITS, "mov %cx, %ds\n vmcall\n");
PROGRAM(stack_fault, NATIVE_BITS, "mov %cx, %ss\n vmcall\n");
PROGRAM(device, NATIVE_BITS, "fnop\n vmcall\n");
PROGRAM(page_fault_read, NATIVE_BITS, "mov (%" CX "), %al\n vmcall\n");
PROGRAM(page_fault_write, NATIVE_BITS, "mov %al, (%" CX ")\n vmcall\n");

struct exception_row {
        struct row head;
        const struct program *program;
        u8 vector;
        u8 offset;           /* of the instruction in the program */
        u32 info;            /* type and error-code valid */
        u32 error;
        u8 length;           /* checked for software exceptions */
        void (*prepare)(struct vm *vm);
        bool has_qualification;
        u64 qualification;
};

#define BEYOND_GDT 0x0ff8

static void bad_selector(struct vm *vm)
{
        vm->regs.rcx = BEYOND_GDT;
}

static void absent_segment(struct vm *vm)
{
        /* A data segment that is not present, in a spare descriptor. */
        guest_env()->gdt[SEL_SPARE / 8] =
                desc_make(0, 0xfffff, DESC_TYPE(2) | DESC_S | DESC_G | DESC_DB);
        vm->regs.rcx = SEL_SPARE;
}

static void task_switched(struct vm *vm)
{
        (void)vm;
        vmwrite(VMCS_GUEST_CR0, vmread(VMCS_GUEST_CR0) | CR0_TS);
}

/* An address that the guest's page tables do not map. */
#define ABSENT 0x3fe00000ull

static void absent_page(struct vm *vm)
{
        guest_map(ABSENT, 0, 0);
        vm->regs.rcx = ABSENT + 0x123;
}

static const struct exception_row exceptions[] = {
        { ROW("de", "#DE", "EXE_EXC_DE"), &divide, VEC_DE, 2, HARDWARE },
        { ROW("ud", "#UD", "EXE_EXC_UD"), &undefined, VEC_UD, 0,
          HARDWARE },
        { ROW("bp", "#BP by INT3", "EXE_EXC_BP"), &breakpoint, VEC_BP,
          0, SOFTWARE, .length = 1 },
        { ROW("nm", "#NM", "EXE_EXC_NM", "x87"), &device, VEC_NM, 0,
          HARDWARE, .prepare = task_switched },
        { ROW("gp", "#GP with a selector as error code", "EXE_EXC_GP"),
          &general_protection, VEC_GP, 0, HARDWARE | HAS_CODE, BEYOND_GDT,
          .prepare = bad_selector },
        { ROW("np", "#NP", "EXE_EXC_NP"), &not_present, VEC_NP, 0,
          HARDWARE | HAS_CODE, SEL_SPARE, .prepare = absent_segment },
        { ROW("ss", "#SS", "EXE_EXC_SS"), &stack_fault, VEC_SS, 0,
          HARDWARE | HAS_CODE, SEL_SPARE, .prepare = absent_segment },
        { ROW("pf-read", "#PF by a read: the qualification is the address",
              "EXE_PF_MATCH_BIT1 EXE_PF_ALL_EXIT"), &page_fault_read, VEC_PF, 0,
          HARDWARE | HAS_CODE, 0, .prepare = absent_page,
          .has_qualification = true, .qualification = ABSENT + 0x123 },
        { ROW("pf-write", "#PF by a write", "EXE_PF_MATCH_BIT1 EXE_PF_ALL_EXIT"),
          &page_fault_write, VEC_PF, 0, HARDWARE | HAS_CODE, PF_W,
          .prepare = absent_page, .has_qualification = true,
          .qualification = ABSENT + 0x123 },
};

static struct vm *exception_guest(const struct exception_row *r, bool exits)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, *r->program);
        if (r->prepare)
                r->prepare(vm);
        /* Mask and match are 0: bit 14 alone decides about #PF. */
        vmwrite(VMCS_EXCEPTION_BITMAP,
                exits ? BIT(r->vector) : ~BIT(r->vector) & 0xffffffff);
        vm_poison(0);
        return vm;
}

static void check_exit(const struct exception_row *r)
{
        struct vm *vm = exception_guest(r, true);
        struct vmx_result want = EXITS_WITH(EXIT_EXCEPTION_NMI, 0);

        if (r->has_qualification)
                want.info = r->qualification;
        if (!CHECK_RESULT("bit is 1", vm_enter(vm), want)) {
                vm_report_exit();
                return;
        }
        /* Bit 12, NMI unblocking due to IRET, is another rule's. */
        CHECK_EQ("exiting-event identification",
                 vmread(VMCS_EXIT_INTERRUPTION_INFO) & ~BIT(12),
                 r->info | r->vector | VALID);
        if (r->info & HAS_CODE)
                CHECK_EQ("exiting-event error code",
                         vmread(VMCS_EXIT_INTERRUPTION_ERROR_CODE), r->error);
        CHECK_EQ("original-event identification, valid bit",
                 vmread(VMCS_IDT_VECTORING_INFO) >> 31, 0);
        CHECK_EQ("RIP at the instruction", vmread(VMCS_GUEST_RIP),
                 vm->entry_rip + r->offset);
        CHECK_EQ("RSP, no frame pushed", vmread(VMCS_GUEST_RSP) & 0xfff, 0);
        if (r->length)
                CHECK_EQ("VM-exit instruction length",
                         vmread(VMCS_EXIT_INSTRUCTION_LENGTH), r->length);
        if (r->vector == VEC_PF)
                CHECK("CR2 is not written", read_cr2() != r->qualification,
                      "CR2 is 0x%llx", (unsigned long long)read_cr2());
}

static void check_delivery(const struct exception_row *r)
{
        struct vm *vm = exception_guest(r, false);
        struct guest_event event;

        if (!CHECK_RESULT("bit is 0", vm_enter(vm), EXITS(EXIT_VMCALL)) ||
            !CHECK("delivered in the guest", vm_event(vm, &event),
                   "the guest ran on")) {
                vm_report_exit();
                return;
        }
        CHECK_EQ("vector", event.vector, r->vector);
        CHECK_EQ("error code pushed", event.has_error, !!(r->info & HAS_CODE));
        if (event.has_error)
                CHECK_EQ("error code", event.error, r->error);
        CHECK_EQ("saved RIP", event.rip, vm->entry_rip + r->offset + r->length);
        if (r->vector == VEC_PF)
                CHECK_EQ("CR2", read_cr2(), r->qualification);
}

TABLE(bitmap, exceptions, .id = "exit.exception",
      .title = "an exception exits by its bit of the exception bitmap",
      .sdm = SDM)
{
        const struct exception_row *r = case_row(self, row);

        write_cr2(0);
        check_exit(r);
        check_delivery(r);
        guest_env()->gdt[SEL_SPARE / 8] = 0;
}

/*
 * A page fault exits by bit 14 xnor'ed with the match of its error code:
 * (code & mask) == match. Both values of each of the three.
 */
FAMILY(page_faults, 8, .id = "exit.exception.pf-filter",
       .title = "error-code mask and match decide which page faults exit",
       .sdm = SDM, .rules = "EXE_PF_MATCH_BIT1 EXE_PF_NOMATCH_BIT0")
{
        bool bit = row & 1, match = row & 2, is_write = row & 4;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct guest_event event;
        u32 code = is_write ? PF_W : 0;
        bool exits;

        vm_program(vm, is_write ? page_fault_write : page_fault_read);
        absent_page(vm);
        vmwrite(VMCS_EXCEPTION_BITMAP, bit ? BIT(VEC_PF) : 0);
        vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MASK, PF_W);
        vmwrite(VMCS_PAGE_FAULT_ERROR_CODE_MATCH, match ? PF_W : 0);
        exits = ((code & PF_W) == (match ? PF_W : 0)) == bit;
        vm_poison(0);
        if (exits)
                CHECK_RESULT("the page fault exits", vm_enter(vm),
                             EXITS_WITH(EXIT_EXCEPTION_NMI, ABSENT + 0x123));
        else if (CHECK_RESULT("the page fault is the guest's", vm_enter(vm),
                              EXITS(EXIT_VMCALL)))
                CHECK("#PF in the guest",
                      vm_event(vm, &event) && event.vector == VEC_PF,
                      "vector %u", event.vector);
}

/* No IDT, so that the guest can not deliver #UD, #GP or #DF. */
CASE(triple_fault, .id = "exit.exception.triple-fault",
     .title = "a triple fault exits, whatever the exception bitmap says",
     .sdm = SDM, .rules = "EXE_TRIPLE_FAULT")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct guest_event event;

        vm_program(vm, undefined);
        vmwrite(VMCS_GUEST_IDTR_LIMIT, 0);
        vm_poison(0);
        if (!CHECK_RESULT("#UD, #GP and #DF without an IDT", vm_enter(vm),
                          EXITS_WITH(EXIT_TRIPLE_FAULT, 0)))
                return;
        CHECK_EQ("exiting-event identification, valid bit",
                 vmread(VMCS_EXIT_INTERRUPTION_INFO) >> 31, 0);
        /* The same guest with a good IDT delivers #UD. */
        vm = vm_begin(GUEST_NATIVE);
        vm_program(vm, undefined);
        if (CHECK_RESULT("with an IDT", vm_enter(vm), EXITS(EXIT_VMCALL)))
                CHECK("#UD in the guest",
                      vm_event(vm, &event) && event.vector == VEC_UD,
                      "vector %u", event.vector);
}
