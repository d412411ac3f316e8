/*
 * SDM Vol. 3, APIC Virtualization and Virtual Interrupts > Virtualizing
 * CR8-Based TPR Accesses, and > Virtual APIC State > TPR Virtualization.
 */
#ifdef __x86_64__
#include "lib/string.h"
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/vmx/exit_probe.h"

#define SDM_CR8 "APIC Virtualization and Virtual Interrupts > " \
                "Virtualizing CR8-Based TPR Accesses"
#define SDM_TPR "APIC Virtualization and Virtual Interrupts > " \
                "Virtual APIC State > TPR Virtualization"

PROGRAM(write_cr8_code, 64, "mov %rcx, %cr8\n vmcall\n");
PROGRAM(read_cr8_code, 64, "mov %cr8, %rcx\n vmcall\n");

/* A guest with a TPR shadow whose virtual-APIC page is returned; VTPR is @vtpr. */
static u8 *shadow_guest(struct vm **vm, struct program program, u8 vtpr)
{
        u8 *page = page_alloc(1);

        *vm = vm_begin(GUEST_LONG);
        vm_program(*vm, program);
        page[APIC_TPR] = vtpr;
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(page));
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW,
                   CTL_PRIMARY_CR8_LOAD_EXITING | CTL_PRIMARY_CR8_STORE_EXITING);
        vm_poison(0);
        return page;
}

/* Every value that MOV to CR8 can write. */
FAMILY(write_cr8_shadow, 16, .id = "tpr.cr8.write",
       .title = "MOV to CR8 writes bits 7:4 of the virtual TPR, not the real one",
       .sdm = SDM_CR8, .rules = "VAPIC_CR8_WRITE_SHADOW VAPIC_CR8_SECONDARY_NOT_NEEDED",
       .needs = "use-tpr-shadow host64")
{
        ulong real = read_cr8();
        struct vm *vm;
        u8 *page = shadow_guest(&vm, write_cr8_code, 0x5a);

        memset(page + APIC_TPR + 1, 0xee, 3);
        vm->regs.rcx = row;
        CHECK_RESULT("MOV to CR8", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("virtual TPR", page[APIC_TPR], row << 4);
        CHECK_EQ("the bytes above it", *(u32 *)(page + APIC_TPR) >> 8, 0);
        CHECK_EQ("the processor's CR8", read_cr8(), real);
}

FAMILY(read_cr8_shadow, 16, .id = "tpr.cr8.read",
       .title = "MOV from CR8 reads bits 7:4 of the virtual TPR",
       .sdm = SDM_CR8, .rules = "VAPIC_CR8_READ_SHADOW",
       .needs = "use-tpr-shadow host64")
{
        struct vm *vm;

        shadow_guest(&vm, read_cr8_code, (u8)(row << 4 | 0xb));
        CHECK_RESULT("MOV from CR8", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("RCX", vm->regs.rcx, row);
}

/*
 * The value written against the threshold: below it the exit comes after the
 * instruction.
 */
FAMILY(threshold, 16, .id = "tpr.threshold",
       .title = "MOV to CR8 below the TPR threshold exits, after the instruction",
       .sdm = SDM_TPR, .rules = "VAPIC_TPR_BELOW_CR8 VAPIC_TPR_LOWER_BUT_GE "
                              "VAPIC_CR8_NO_VMEXIT_28_ON_THRESHOLD VAPIC_TPR_THRESHOLD_ZERO",
       .needs = "use-tpr-shadow host64")
{
        const u32 limit = row;

        for (u32 value = limit ? limit - 1 : 0; value <= limit; value++) {
                struct vm *vm;
                u8 *page = shadow_guest(&vm, write_cr8_code, 0xf0);
                struct vmx_result got;

                vmwrite(VMCS_TPR_THRESHOLD, limit);
                vm->regs.rcx = value;
                got = vm_enter(vm);
                if (value >= limit) {
                        CHECK_RESULT("not below the threshold", got,
                                     EXITS(EXIT_VMCALL));
                        continue;
                }
                CHECK_RESULT("below the threshold", got,
                             EXITS_WITH(EXIT_TPR_BELOW_THRESHOLD, 0));
                CHECK_EQ("RIP behind the instruction", vmread(VMCS_GUEST_RIP),
                         vm->entry_rip + 4);
                CHECK_EQ("virtual TPR", page[APIC_TPR], value << 4);
        }
}

/* Without a shadow CR8 is the processor's. */
CASE(no_shadow, .id = "tpr.cr8.no-shadow",
     .title = "without a TPR shadow MOV to CR8 writes the real TPR",
     .sdm = SDM_CR8, .rules = "VAPIC_CR8_NO_SHADOW_PHYSICAL",
     .needs = "use-tpr-shadow host64")
{
        ulong real = read_cr8();
        struct vm *vm;
        u8 *page = shadow_guest(&vm, write_cr8_code, 0x5a);

        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_USE_TPR_SHADOW);
        vm->regs.rcx = 3;
        CHECK_RESULT("MOV to CR8", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the processor's CR8", read_cr8(), 3);
        CHECK_EQ("the page", page[APIC_TPR], 0x5a);
        write_cr8(real);
}
#endif
