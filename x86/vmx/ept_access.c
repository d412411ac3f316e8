#include "x86/vmx/ept_access.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/exit_probe.h"

/* Guest-physical: the page's own address is added. */
#define NEAR_BASE (8ull << 30)
#define FAR_BASE  (1ull << 39)

#define LINEAR_PAGE 0x3fc00000u

/*
 * Exit qualification for EPT violations: bits 5:0, 8:7, 12, 13, 15 and 16. The
 * others depend on features (SDM, Exit Qualification for EPT Violations).
 */
#define DEFINED_BITS 0x1b1bfull

ONE(read_code, "mov (%" CX "), %al");
ONE(write_code, "mov %al, (%" CX ")");
ONE(fetch_code, "jmp *%" CX);

static const struct program *const programs[] = {
        &read_code, &write_code, &fetch_code,
};

void ept_access_begin(struct ept_access *a, unsigned leaf, bool far)
{
        u64 base = far ? FAR_BASE : NEAR_BASE, size = EPT_PAGE_SIZE(leaf);

        a->vm = vm_begin(GUEST_NATIVE);
        a->root = ept_new_over_identity();
        a->page = page_alloc(1);
        a->gpa = base + phys(a->page);
        a->linear = LINEAR_PAGE;
        ept_map(a->root, a->gpa & ~(size - 1), phys(a->page) & ~(size - 1),
                leaf, EPT_RWX | ept_memory_type());
        guest_map(a->linear, a->gpa, PTE_P | PTE_W | PTE_U | PTE_A | PTE_D);
        a->page[EPT_OFFSET] = EPT_DATA;
        a->page[EPT_OFFSET + 1] = 0x01;
        a->page[EPT_OFFSET + 2] = 0xc1;
}

volatile u64 *ept_access_entry(struct ept_access *a, unsigned level)
{
        return ept_entry(a->root, a->gpa, level);
}

struct vmx_result ept_access_do(struct ept_access *a, enum ept_access_kind kind)
{
        a->page[EPT_OFFSET] = EPT_DATA;
        a->vm->regs.rcx = a->linear + EPT_OFFSET;
        a->vm->regs.rax = EPT_VALUE;
        vm_program(a->vm, *programs[kind]);
        ept_use(a->root, 0);
        vm_poison(0);
        return vm_enter(a->vm);
}

void ept_access_check_done(struct ept_access *a, enum ept_access_kind kind,
                           struct vmx_result got)
{
        if (!CHECK_RESULT("the access is done", got, EXITS(EXIT_VMCALL))) {
                vm_report_exit();
                return;
        }
        switch (kind) {
        case EPT_READ:
                CHECK_EQ("byte read", a->vm->regs.rax & 0xff, EPT_DATA);
                break;
        case EPT_WRITE:
                CHECK_EQ("byte in memory", a->page[EPT_OFFSET], EPT_VALUE);
                break;
        case EPT_FETCH:
                CHECK_EQ("RIP at the target", vmread(VMCS_GUEST_RIP),
                         a->linear + EPT_OFFSET);
        }
}

static void check_refused(struct ept_access *a, enum ept_access_kind kind)
{
        CHECK_EQ("guest-physical address", vmread(VMCS_GUEST_PHYSICAL_ADDRESS),
                 a->gpa + EPT_OFFSET);
        CHECK_EQ("RIP", vmread(VMCS_GUEST_RIP),
                 kind == EPT_FETCH ? a->linear + EPT_OFFSET : a->vm->entry_rip);
        CHECK_EQ("byte in memory, as before", a->page[EPT_OFFSET], EPT_DATA);
        CHECK_EQ("AL, as before", a->vm->regs.rax & 0xff, EPT_VALUE);
}

void ept_access_check_violation(struct ept_access *a, enum ept_access_kind kind,
                                struct vmx_result got, u64 qualification)
{
        got.info &= DEFINED_BITS;
        if (!CHECK_RESULT("the access is refused", got,
                          EXITS_WITH(EXIT_EPT_VIOLATION, qualification))) {
                vm_report_exit();
                return;
        }
        CHECK_EQ("guest-linear address", vmread(VMCS_GUEST_LINEAR_ADDRESS),
                 a->linear + EPT_OFFSET);
        check_refused(a, kind);
}

void ept_access_check_misconfiguration(struct ept_access *a,
                                       enum ept_access_kind kind,
                                       struct vmx_result got)
{
        if (!CHECK_RESULT("the entry is refused", got,
                          EXITS_WITH(EXIT_EPT_MISCONFIGURATION, 0))) {
                vm_report_exit();
                return;
        }
        check_refused(a, kind);
}
