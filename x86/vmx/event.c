#include "x86/vmx/event.h"
#include "lib/fmt.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"

const struct event_type event_types[EVENT_TYPES] = {
        { ROW("external"), EXTERNAL(0x30), 0 },
        { ROW("nmi"), NMI, 0 },
        { ROW("exception"), HARDWARE(VEC_UD), 0 },
        { ROW("int-n"), INT_N(0x30), 2 },
        { ROW("int1"), INT1_TRAP, 1 },
        { ROW("int3"), SOFTWARE(VEC_BP), 1 },
};

static unsigned word_size(const struct vm *vm)
{
        switch (vm->mode) {
        case GUEST_LONG:
        case GUEST_COMPAT:
                return 8;
        case GUEST_REAL:
                return 2;
        default:
                return 4;
        }
}

void vm_inject(u32 info, u32 error, u32 length)
{
        nmi_unblock();
        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, info);
        vmwrite(VMCS_ENTRY_EXCEPTION_ERROR_CODE, error);
        vmwrite(VMCS_ENTRY_INSTRUCTION_LENGTH, length);
        if ((info & ~0xffu) == EXTERNAL(0))
                vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
}

ulong vm_handler(const struct vm *vm, u8 vector)
{
        const struct guest_env *env = guest_env();

        /* As guest_env.c lays them out. */
        if (vm->mode == GUEST_REAL)
                return (ulong)env->low_handlers + vector * 16u;
        return (ulong)env->handlers + vector * 16u +
               (word_size(vm) == 8 ? 0 : 8);
}

u64 vm_stack(const struct vm *vm, unsigned n)
{
        unsigned size = word_size(vm);
        u64 word = 0;

        memcpy(&word, (const void *)(ulong)(vmread(VMCS_GUEST_SS_BASE) +
                                            vmread(VMCS_GUEST_RSP) + n * size),
               size);
        return word;
}

void vm_user(struct vm *vm)
{
        u64 dpl = 3u << 5;

        vmwrite(VMCS_GUEST_CS_SELECTOR, vm->mode == GUEST_LONG
                                        ? SEL_USER_CODE : SEL_USER_CODE32);
        vm_control(VMCS_GUEST_CS_ACCESS_RIGHTS, dpl, 0);
        for (u32 r = 0; r <= VMCS_GUEST_GS_SELECTOR - VMCS_GUEST_ES_SELECTOR;
             r += 2) {
                if (VMCS_GUEST_ES_SELECTOR + r == VMCS_GUEST_CS_SELECTOR)
                        continue;
                vmwrite(VMCS_GUEST_ES_SELECTOR + r, SEL_USER_DATA);
                vm_control(VMCS_GUEST_ES_ACCESS_RIGHTS + r, dpl, 0);
        }
}

struct vm_tables vm_tables(const struct vm *vm)
{
        struct vm_tables t = {
                .idt = page_alloc(1), .gdt = page_alloc(2),
                .tss = page_alloc(1),
                .gate_size = vm->mode == GUEST_REAL ? 4
                             : word_size(vm) == 8 ? 16 : 8,
        };

        memcpy(t.idt, (void *)(ulong)vmread(VMCS_GUEST_IDTR_BASE),
               (size_t)vmread(VMCS_GUEST_IDTR_LIMIT) + 1);
        memcpy(t.gdt, (void *)(ulong)vmread(VMCS_GUEST_GDTR_BASE),
               (size_t)vmread(VMCS_GUEST_GDTR_LIMIT) + 1);
        memcpy(t.tss, (void *)(ulong)vmread(VMCS_GUEST_TR_BASE), TSS_LIMIT + 1);
        vmwrite(VMCS_GUEST_IDTR_BASE, (ulong)t.idt);
        vmwrite(VMCS_GUEST_GDTR_BASE, (ulong)t.gdt);
        vmwrite(VMCS_GUEST_TR_BASE, (ulong)t.tss);
        return t;
}

void vm_gate_selector(const struct vm_tables *t, u8 vector, u16 selector)
{
        memcpy(vm_gate(t, vector) + 2, &selector, 2);
}

void vm_gate_offset(const struct vm_tables *t, u8 vector, ulong offset)
{
        u8 *gate = vm_gate(t, vector);
        u32 low = (u32)offset;

        memcpy(gate, &low, 2);
        memcpy(gate + 6, (u8 *)&low + 2, 2);
        if (t->gate_size == 16) {
                u32 high = (u32)((u64)offset >> 32);

                memcpy(gate + 8, &high, 4);
        }
}

/* The guest's table of page directories, its own from the first call on. */
static u64 *own_pdpt(struct vm *vm)
{
        const struct guest_env *env = guest_env();
        bool is_long = word_size(vm) == 8;
        u64 *shared = is_long ? env->pml4 : env->pae_pdpt, *root, *pdpt;

        root = (u64 *)(ulong)vmread(VMCS_GUEST_CR3);
        if (root != shared)
                return is_long ? (u64 *)(ulong)(root[0] & PTE_ADDR) : root;
        root = pdpt = page_alloc(1);
        memcpy(pdpt, is_long ? env->pdpt : env->pae_pdpt, 4 * sizeof(u64));
        if (is_long) {
                root = page_alloc(1);
                root[0] = phys(pdpt) | PTE_P | PTE_W | PTE_U;
        }
        vmwrite(VMCS_GUEST_CR3, phys(root));
        return pdpt;
}

/* With EPT, VM entry takes them from the VMCS. */
static void load_pdpte(struct vm *vm, const u64 *pdpt, unsigned i)
{
        if (word_size(vm) != 8 && vmcs_has(VMCS_GUEST_PDPTE0))
                vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, pdpt[i]);
}

u64 *vm_pte(struct vm *vm, const volatile void *va)
{
        ulong at = (ulong)va;
        unsigned gib = (unsigned)((u64)at >> 30);
        u64 *pdpt = own_pdpt(vm), *directory, *pde;

        directory = (u64 *)(ulong)(pdpt[gib] & PTE_ADDR);
        if (directory == guest_env()->directories + 512 * gib) {
                u64 *copy = page_alloc(1);

                memcpy(copy, directory, PAGE_SIZE);
                directory = copy;
                pdpt[gib] = phys(copy) | (pdpt[gib] & ~PTE_ADDR);
                load_pdpte(vm, pdpt, gib);
        }
        pde = &directory[at >> 21 & 511];
        if (*pde & PTE_PS) {
                u64 *table = page_alloc(1);

                for (u64 i = 0; i < 512; i++)
                        table[i] = (*pde & ~PTE_PS) + i * PAGE_SIZE;
                *pde = phys(table) | PTE_P | PTE_W | PTE_U;
        }
        return (u64 *)(ulong)(*pde & PTE_ADDR) + (at >> 12 & 511);
}

void vm_paging_hole(struct vm *vm)
{
        u64 *pdpt = own_pdpt(vm);

        pdpt[3] = 0;
        load_pdpte(vm, pdpt, 3);
}

static struct text *event_text(struct text *t, const struct guest_event *e)
{
        text_add(t, "vector %u, ", e->vector);
        if (e->has_error)
                text_add(t, "error code 0x%x, ", e->error);
        else
                text_add(t, "no error code, ");
        text_add(t, "RIP 0x%llx", (unsigned long long)e->rip);
        if (e->cs)
                text_add(t, ", CS 0x%x", e->cs);
        if (e->rflags)
                text_add(t, ", RFLAGS 0x%llx", (unsigned long long)e->rflags);
        return t;
}

bool check_delivered(const char *file, int line, const char *what,
                     struct vm *vm, struct vmx_result r,
                     const struct guest_event *want)
{
        char w[160], g[160];
        struct text wt = TEXT(w), gt = TEXT(g);
        struct guest_event got;
        bool is_event;

        check_count();
        is_event = r.kind == VMX_EXIT && vm_event(vm, &got);
        if (is_event && got.vector == want->vector &&
            got.has_error == want->has_error &&
            (!got.has_error || got.error == want->error) &&
            got.rip == want->rip && (!want->cs || got.cs == want->cs) &&
            (!want->rflags || got.rflags == want->rflags))
                return true;
        text_add(&wt, "the guest's handler: ");
        event_text(&wt, want);
        if (is_event)
                event_text(&gt, &got);
        else
                result_text(&gt, r);
        check_finding(file, line, what, w, g);
        if (r.kind == VMX_EXIT)
                vm_report_exit();
        return false;
}

bool check_exit(const char *file, int line, const char *what,
                struct vmx_result r, struct vmx_result want)
{
        if (check_result(file, line, what, r, want))
                return true;
        if (r.kind == VMX_EXIT)
                vm_report_exit();
        return false;
}

static bool check_event(const char *file, int line, u32 info_field,
                        u32 error_field, u32 info, u32 error)
{
        u32 got = (u32)vmread(info_field);
        bool held;

        if (!(info & EVENT_VALID))
                return check_equal(file, line, vmcs_field_name(info_field),
                                   got & EVENT_VALID, 0);
        held = check_equal(file, line, vmcs_field_name(info_field),
                           got & ~(u32)BIT(12), info);
        if (info & EVENT_HAS_ERROR)
                held = check_equal(file, line, vmcs_field_name(error_field),
                                   vmread(error_field), error) && held;
        return held;
}

bool check_original_event(const char *file, int line, u32 info, u32 error)
{
        return check_event(file, line, VMCS_IDT_VECTORING_INFO,
                           VMCS_IDT_VECTORING_ERROR_CODE, info, error);
}

bool check_exiting_event(const char *file, int line, u32 info, u32 error)
{
        return check_event(file, line, VMCS_EXIT_INTERRUPTION_INFO,
                           VMCS_EXIT_INTERRUPTION_ERROR_CODE, info, error);
}

static void prepare(struct vm *vm, const struct delivery *d)
{
        vmcs_edit(d->given);
        if (d->prepare)
                d->prepare(vm);
        vm_poison(0);
}

void delivery_run(const struct test_case *self, unsigned row)
{
        const struct delivery *d = case_row(self, row);
        struct vm *vm = vm_begin(d->mode);
        struct guest_event want = { .vector = (u8)d->info,
                                    .has_error = d->info & EVENT_HAS_ERROR,
                                    .error = d->error };

        prepare(vm, d);
        want.rip = (ulong)vmread(VMCS_GUEST_RIP);
        CHECK_EXIT("VM entry without injection", vm_enter(vm),
                   EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, want.rip);

        vm = vm_begin(d->mode);
        prepare(vm, d);
        want.rip += d->advance;
        vm_inject(d->info, d->error, d->length);
        want.cs = (u16)vmread(VMCS_GUEST_CS_SELECTOR);
        want.rflags = (ulong)vmread(VMCS_GUEST_RFLAGS);
        if (vm->mode == GUEST_REAL)
                want.rflags &= 0xffff;
        check_delivered(self->file, (int)self->line, "VM entry with injection",
                        vm, vm_enter(vm), &want);
        CHECK_ORIGINAL_EVENT(0, 0);
}
