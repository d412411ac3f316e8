/*
 * SDM Vol. 3, VM Entries > Checks on VMX Controls > VM-Execution Control Fields:
 * combinations of APIC controls that VM entry accepts, and what they then do.
 */
#include "x86/msr.h"
#include "x86/vmx/control_check.h"
#include "x86/vmx/guest_env.h"

#define SDM SDM_EXECUTION_CONTROLS
#define SECONDARY(NAME) CTL_SECONDARY_##NAME
#define TPR 0x80              /* offset of the register in the page */
#define STAMP 0x5aa5c33cu

#ifdef __x86_64__
PROGRAM(read_page, 64, "mov (%rax), %ecx\nvmcall\n");
PROGRAM(write_page, 64, "mov %ecx, (%rax)\nvmcall\n");
#else
PROGRAM(read_page, 32, "mov (%eax), %ecx\nvmcall\n");
PROGRAM(write_page, 32, "mov %ecx, (%eax)\nvmcall\n");
#endif
PROGRAM(read_msr, NATIVE_BITS, "rdmsr\nvmcall\n");

/* A page of memory at the APIC-access address; the guest accesses its TPR. */
static volatile u32 *begin(const struct edit *controls, struct vm **vm,
                           struct program program)
{
        volatile u32 *page = (u32 *)(ulong)new_page(0);

        *vm = vm_begin(GUEST_NATIVE);
        guest_map_small((void *)page);
        vmwrite(VMCS_APIC_ACCESS_ADDRESS, (ulong)page);
        vmcs_edit(controls);
        page[TPR / 4] = STAMP;
        (*vm)->regs.rax = (ulong)page + TPR;
        vm_program(*vm, program);
        vm_poison(VMERR_ENTRY_CONTROLS);
        return page;
}

static void page_exits(const struct edit *controls)
{
        struct vm *vm;
        volatile u32 *page = begin(controls, &vm, read_page);

        CHECK_RESULT("a guest that reads the page", vm_enter(vm),
                     EXITS_WITH(EXIT_APIC_ACCESS, TPR));
        page = begin(controls, &vm, write_page);
        CHECK_RESULT("a guest that writes the page", vm_enter(vm),
                     EXITS_WITH(EXIT_APIC_ACCESS, 1 << 12 | TPR));
        CHECK_EQ("the page after the VM exit", page[TPR / 4], STAMP);
}

static void page_is_memory(const struct edit *controls)
{
        struct vm *vm;
        volatile u32 *page = begin(controls, &vm, read_page);

        CHECK_RESULT("a guest that reads the page", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
        CHECK_EQ("ECX of the guest", (u32)vm->regs.rcx, STAMP);
        page = begin(controls, &vm, write_page);
        vm->regs.rcx = ~STAMP;
        CHECK_RESULT("a guest that writes the page", vm_enter(vm),
                     EXITS(EXIT_VMCALL));
        CHECK_EQ("the page", page[TPR / 4], ~STAMP);
}

static void refused(const struct edit *controls)
{
        struct vm *vm;

        begin(controls, &vm, read_page);
        CHECK_RESULT("the same controls, active", vm_enter(vm), BAD_CONTROLS);
}

CASE(accesses_alone, .id = "entry.controls.effect.apic-accesses-alone",
     .title = "\"virtualize APIC accesses\" without TPR shadow: accesses exit",
     .sdm = SDM, .rules = "APIC_ENTRY_VAA_WITHOUT_TPRSHADOW_OK",
     .needs = "virtualize-apic-accesses")
{
        page_exits(EDITS(WITH_SECONDARY(SECONDARY(VIRTUALIZE_APIC_ACCESSES))));
}

CASE(registers_alone, .id = "entry.controls.effect.registers-alone",
     .title = "\"APIC-register virtualization\" alone virtualizes nothing",
     .sdm = SDM, .rules = "APIC_ENTRY_ARV_WITHOUT_VAA_OK",
     .needs = "virtualize-apic-accesses apic-register-virtualization "
              "use-tpr-shadow use-msr-bitmaps")
{
        const struct edit *controls =
                EDITS(WITH_TPR_SHADOW,
                      OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_MSR_BITMAPS),
                      CALC(MSR_BITMAPS, new_page),
                      WITH_SECONDARY(SECONDARY(APIC_REGISTER_VIRTUALIZATION)));
        struct guest_event event;
        struct vm *vm;

        page_is_memory(controls);
        /* The registers of x2APIC mode do not exist outside it. */
        if (rdmsr(MSR_IA32_APIC_BASE) & APIC_BASE_EXTD)
                return;
        begin(controls, &vm, read_msr);
        vm->regs.rcx = MSR_X2APIC(TPR);
        CHECK_RESULT("a guest that reads the TPR of x2APIC mode",
                     vm_enter(vm), EXITS(EXIT_VMCALL));
        if (CHECK("its exception", vm_event(vm, &event), "none"))
                CHECK_EQ("vector", event.vector, VEC_GP);
}

#define INACTIVE_ROW(id_, what, NAME, needs_)                           \
        { ROW(id_, what, NULL, needs_), .control = SECONDARY(NAME) }

static const struct inactive_row {
        struct row head;
        u64 control;
} inactive_rows[] = {
        INACTIVE_ROW("x2apic-mode", "virtualized x2APIC mode",
                     VIRTUALIZE_X2APIC_MODE, "virtualize-x2apic-mode"),
        INACTIVE_ROW("registers", "APIC-register virtualization",
                     APIC_REGISTER_VIRTUALIZATION,
                     "apic-register-virtualization"),
        INACTIVE_ROW("virtual-interrupts", "virtual-interrupt delivery",
                     VIRTUAL_INTERRUPT_DELIVERY, "virtual-interrupt-delivery"),
};

/* With "virtualize APIC accesses" each of these is invalid without TPR shadow. */
TABLE(inactive, inactive_rows, .id = "entry.controls.effect.inactive",
      .title = "APIC controls that are not active require and do nothing",
      .sdm = SDM, .rules = "APIC_ENTRY_SECONDARY_OFF_IGNORES_ALL",
      .needs = "virtualize-apic-accesses")
{
        const struct inactive_row *r = case_row(self, row);
        u64 controls = r->control | SECONDARY(VIRTUALIZE_APIC_ACCESSES);

        page_is_memory(EDITS(SET(SECONDARY_CONTROLS, controls)));
        refused(EDITS(WITH_SECONDARY(controls)));
}
