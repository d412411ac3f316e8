/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Updating Non-Register State:
 * RVI and SVI. What follows from them: apic_tests/entry_virtual_interrupts.c.
 */
#include "lib/check.h"
#include "x86/apic.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > Updating Non-Register State"
#define NEEDS "use-tpr-shadow virtual-interrupt-delivery external-interrupt-exiting"

struct status_row {
        struct row head;
        u8 rvi, svi;
};

static const struct status_row rows[] = {
        { ROW("0000"), 0x00, 0x00 }, { ROW("0001"), 0x01, 0x00 },
        { ROW("000f"), 0x0f, 0x00 }, { ROW("0020"), 0x20, 0x00 },
        { ROW("00ff"), 0xff, 0x00 }, { ROW("0100"), 0x00, 0x01 },
        { ROW("5100"), 0x00, 0x51 }, { ROW("5152"), 0x52, 0x51 },
        { ROW("5161"), 0x61, 0x51 }, { ROW("6151"), 0x51, 0x61 },
        { ROW("aa55"), 0x55, 0xaa }, { ROW("55aa"), 0xaa, 0x55 },
        { ROW("ff00"), 0x00, 0xff }, { ROW("ffff"), 0xff, 0xff },
};

static struct vm *status_guest(const struct status_row *r, u32 **page, u32 rflags)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        *page = page_alloc(1);
        (*page)[APIC_PPR / 4] = ~0u;
        (*page)[(APIC_IRR + r->rvi / 32 * 16) / 4] = r->rvi ? 1u << r->rvi % 32 : 0;
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(*page));
        vm_control(VMCS_PIN_CONTROLS, CTL_PIN_EXTERNAL_INTERRUPT_EXITING, 0);
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY),
                        OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW)));
        vmwrite(VMCS_GUEST_INTERRUPT_STATUS, (u32)r->svi << 8 | r->rvi);
        vm_control(VMCS_GUEST_RFLAGS, rflags, 0);
        vm_poison(0);
        return vm;
}

/* Nothing is delivered while IF = 0: exit finds both as entry loaded them. */
TABLE(loaded, rows, .id = "entry.load.interrupt-status",
      .title = "any RVI and SVI are loaded: VPPR follows SVI, and the VM exit "
               "saves both", .sdm = SDM, .rules = "ENTL_RVI_SVI_LOADED",
      .needs = NEEDS)
{
        const struct status_row *r = case_row(self, row);
        u32 *page;
        struct vm *vm = status_guest(r, &page, 0);

        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_INTERRUPT_STATUS, (u32)r->svi << 8 | r->rvi);
        CHECK_EQ("VPPR", page[APIC_PPR / 4], r->svi & 0xf0);
}

/* RVI is recognized if its class is above that of VPPR, which is SVI's. */
TABLE(recognized, rows, .id = "entry.load.interrupt-status.recognized",
      .title = "with IF = 1 RVI is delivered if its class is above SVI's, else not",
      .sdm = SDM, .rules = "ENTL_RVI_SVI_LOADED", .needs = NEEDS)
{
        const struct status_row *r = case_row(self, row);
        bool delivered = r->rvi >> 4 > r->svi >> 4;
        u32 *page;
        struct vm *vm = status_guest(r, &page, RFLAGS_IF);

        if (delivered) {
                CHECK_DELIVERED("VM entry", vm, vm_enter(vm), .vector = r->rvi,
                                .rip = vm->entry_rip);
                CHECK_VMCS(GUEST_INTERRUPT_STATUS, (u32)r->rvi << 8);
        } else {
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, vm->entry_rip);
                CHECK_VMCS(GUEST_INTERRUPT_STATUS, (u32)r->svi << 8 | r->rvi);
        }
}

/* With the control 0 VM entry leaves the virtual APIC alone. */
CASE(not_loaded, .id = "entry.load.interrupt-status.off",
     .title = "without \"virtual-interrupt delivery\" VPPR stays, and nothing is "
              "delivered", .sdm = SDM,
     .rules = "ENTL_RVI_SVI_LOADED ENTL_PPR_ONLY_WITH_VID", .needs = NEEDS)
{
        const struct status_row r = { .rvi = 0x61, .svi = 0x51 };
        u32 *page;
        struct vm *vm = status_guest(&r, &page, 0);

        CHECK_EXIT("the control is 1", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("VPPR", page[APIC_PPR / 4], 0x50);

        vm = status_guest(&r, &page, RFLAGS_IF);
        vm_control(VMCS_SECONDARY_CONTROLS, 0,
                   CTL_SECONDARY_VIRTUAL_INTERRUPT_DELIVERY);
        CHECK_EXIT("the control is 0", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm->entry_rip);
        CHECK_EQ("VPPR", page[APIC_PPR / 4], ~0u);
}
