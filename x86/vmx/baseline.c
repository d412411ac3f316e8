/* The VMCS of a guest that must be able to run, in each mode. */
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/session.h"

extern const u8 vm_exit_asm[];

/* Access rights: SDM, "Guest Register State" > format of access rights. */
#define AR_CODE64     0xa09b
#define AR_CODE32     0xc09b
#define AR_CODE16     0x009b
#define AR_DATA       0xc093
#define AR_DATA16     0x0093
#define AR_V86        0x00f3
#define AR_TSS        0x008b  /* busy, 32-bit or 64-bit */
#define AR_UNUSABLE   0x10000

/*
 * The fields that the processor has, with their values for one mode. The host
 * state comes after: it is what the processor's state is at that time.
 */
#define MAX_FIELDS 256

struct baseline {
        unsigned count;
        u16 fields[MAX_FIELDS];
        u64 values[MAX_FIELDS];
};

_Static_assert(sizeof(struct baseline) <= PAGE_SIZE, "one page each");

static struct baseline *baselines[GUEST_MODES];

static void set(struct baseline *b, u32 field, u64 value)
{
        for (unsigned i = 0; i < b->count; i++) {
                if (b->fields[i] == field) {
                        b->values[i] = value;
                        return;
                }
        }
        /* Not a field of this processor: what it would say does not exist. */
}

static void all_fields(struct baseline *b)
{
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                u32 field = vmcs_fields[i].encoding;

                if (vmcs_type(field) == VMCS_TYPE_READ_ONLY ||
                    !vmcs_has(field))
                        continue;
                b->fields[b->count] = (u16)field;
                b->values[b->count++] = 0;
        }
}

static bool is_long(enum guest_mode mode)
{
        return mode == GUEST_LONG || mode == GUEST_COMPAT;
}

static bool is_unrestricted(enum guest_mode mode)
{
        return mode == GUEST_REAL || mode == GUEST_PROTECTED;
}

static void controls(struct baseline *b, enum guest_mode mode)
{
        u64 primary = 0, secondary = 0, entry = 0, exit = 0;

        if (sizeof(ulong) == 8)
                exit |= CTL_EXIT_HOST_ADDRESS_SPACE_SIZE;
        if (is_long(mode))
                entry |= CTL_ENTRY_IA32E_MODE_GUEST;
        if (is_unrestricted(mode)) {
                primary |= CTL_PRIMARY_ACTIVATE_SECONDARY;
                secondary |= CTL_SECONDARY_ENABLE_EPT |
                             CTL_SECONDARY_UNRESTRICTED_GUEST;
                set(b, VMCS_EPTP, guest_env()->eptp);
        }
        set(b, VMCS_PIN_CONTROLS, control_settings(WORD_PIN, 0));
        set(b, VMCS_PRIMARY_CONTROLS, control_settings(WORD_PRIMARY, primary));
        set(b, VMCS_SECONDARY_CONTROLS,
            control_settings(WORD_SECONDARY, secondary));
        set(b, VMCS_EXIT_CONTROLS, control_settings(WORD_EXIT, exit));
        set(b, VMCS_ENTRY_CONTROLS, control_settings(WORD_ENTRY, entry));
        set(b, VMCS_VMCS_LINK_POINTER, ~0ull);
}

/* The fields of one segment register lie 2 apart in each group. */
static void segment(struct baseline *b, u32 es_relative, u16 selector,
                    u64 base, u32 limit, u32 rights)
{
        set(b, VMCS_GUEST_ES_SELECTOR + es_relative, selector);
        set(b, VMCS_GUEST_ES_BASE + es_relative, base);
        set(b, VMCS_GUEST_ES_LIMIT + es_relative, limit);
        set(b, VMCS_GUEST_ES_ACCESS_RIGHTS + es_relative, rights);
}

#define REG_CS (VMCS_GUEST_CS_SELECTOR - VMCS_GUEST_ES_SELECTOR)
#define REG_GS (VMCS_GUEST_GS_SELECTOR - VMCS_GUEST_ES_SELECTOR)
#define REG_LDTR (VMCS_GUEST_LDTR_SELECTOR - VMCS_GUEST_ES_SELECTOR)
#define REG_TR (VMCS_GUEST_TR_SELECTOR - VMCS_GUEST_ES_SELECTOR)

static void segments(struct baseline *b, enum guest_mode mode)
{
        const struct guest_env *env = guest_env();
        u16 low = (u16)((ulong)env->low_code >> 4);

        for (u32 r = 0; r <= REG_GS; r += 2) {
                switch (mode) {
                case GUEST_REAL:
                        segment(b, r, low, (u64)low << 4, 0xffff,
                                r == REG_CS ? AR_CODE16 : AR_DATA16);
                        break;
                case GUEST_V86:
                        segment(b, r, low, (u64)low << 4, 0xffff, AR_V86);
                        break;
                default:
                        if (r != REG_CS)
                                segment(b, r, SEL_DATA, 0, ~0u, AR_DATA);
                        else if (mode == GUEST_LONG)
                                segment(b, r, SEL_CODE64, 0, ~0u, AR_CODE64);
                        else
                                segment(b, r, SEL_CODE32, 0, ~0u, AR_CODE32);
                }
        }
        segment(b, REG_LDTR, 0, 0, 0, AR_UNUSABLE);
        segment(b, REG_TR, SEL_TSS, 0, TSS_LIMIT, AR_TSS);
        set(b, VMCS_GUEST_GDTR_BASE, (ulong)env->gdt);
        set(b, VMCS_GUEST_GDTR_LIMIT, DESC_ENTRIES * 8 - 1);
        if (mode == GUEST_REAL) {
                set(b, VMCS_GUEST_IDTR_BASE, 0);
                set(b, VMCS_GUEST_IDTR_LIMIT, 0x3ff);
        } else if (is_long(mode)) {
                set(b, VMCS_GUEST_IDTR_BASE, (ulong)env->idt64);
                set(b, VMCS_GUEST_IDTR_LIMIT, 256 * 16 - 1);
        } else {
                set(b, VMCS_GUEST_IDTR_BASE, (ulong)env->idt32);
                set(b, VMCS_GUEST_IDTR_LIMIT, 256 * 8 - 1);
        }
}

static bool has_efer(void)
{
        return cpuid_bit(0x80000001, 0, 'd', 20) ||
               cpuid_bit(0x80000001, 0, 'd', 29);
}

static void guest_state(struct baseline *b, enum guest_mode mode)
{
        const struct guest_env *env = guest_env();
        ulong cr0 = vmx_cr0(CR0_PE | CR0_NE | CR0_ET | CR0_PG), cr4 = CR4_PAE;
        u64 efer = is_long(mode) ? EFER_LMA | EFER_LME : 0;
        u64 rflags = RFLAGS_FIXED, cr3 = phys(env->pae_pdpt);

        if (mode == GUEST_32) {
                cr4 = CR4_PSE;
                cr3 = phys(env->directory32);
        } else if (is_long(mode)) {
                cr3 = phys(env->pml4);
        }
        if (mode == GUEST_REAL)
                cr0 &= ~(ulong)(CR0_PE | CR0_PG);
        if (mode == GUEST_PROTECTED)
                cr0 &= ~(ulong)CR0_PG;
        if (mode == GUEST_V86)
                rflags |= RFLAGS_VM | RFLAGS_IOPL;
        set(b, VMCS_GUEST_CR0, cr0);
        set(b, VMCS_CR0_READ_SHADOW, cr0);
        set(b, VMCS_GUEST_CR3, cr3);
        set(b, VMCS_GUEST_CR4, vmx_cr4(cr4));
        set(b, VMCS_CR4_READ_SHADOW, vmx_cr4(cr4));
        set(b, VMCS_GUEST_DR7, DR7_INIT);
        set(b, VMCS_GUEST_RFLAGS, rflags);
        set(b, VMCS_GUEST_EFER, efer);
        set(b, VMCS_GUEST_PAT, rdmsr(MSR_IA32_PAT));
        set(b, VMCS_HOST_PAT, rdmsr(MSR_IA32_PAT));
        set(b, VMCS_HOST_EFER, has_efer() ? rdmsr(MSR_IA32_EFER) : 0);
        segments(b, mode);
        for (unsigned i = 0; i < 4; i++)
                set(b, VMCS_GUEST_PDPTE0 + 2 * i, env->pae_pdpt[i]);
}

static void host_state(void)
{
        const struct cpu *cpu = this_cpu();

        vmwrite(VMCS_HOST_CR0, read_cr0());
        vmwrite(VMCS_HOST_CR3, read_cr3());
        vmwrite(VMCS_HOST_CR4, read_cr4());
        vmwrite(VMCS_HOST_ES_SELECTOR, SEL_DATA);
        vmwrite(VMCS_HOST_CS_SELECTOR, SEL_CODE);
        vmwrite(VMCS_HOST_SS_SELECTOR, SEL_DATA);
        vmwrite(VMCS_HOST_DS_SELECTOR, SEL_DATA);
        vmwrite(VMCS_HOST_FS_SELECTOR, SEL_DATA);
        vmwrite(VMCS_HOST_GS_SELECTOR, SEL_DATA);
        vmwrite(VMCS_HOST_TR_SELECTOR, SEL_TSS);
        vmwrite(VMCS_HOST_TR_BASE, (ulong)&cpu->tss);
        vmwrite(VMCS_HOST_GDTR_BASE, (ulong)cpu->gdt);
        vmwrite(VMCS_HOST_IDTR_BASE, (ulong)idt);
        vmwrite(VMCS_HOST_RIP, (ulong)vm_exit_asm);
}

static struct baseline *build(enum guest_mode mode)
{
        struct baseline *b = baselines[mode];

        all_fields(b);
        controls(b, mode);
        guest_state(b, mode);
        return b;
}

void vm_baseline(struct vm *vm, enum guest_mode mode)
{
        const struct baseline *b;

        if (mode == GUEST_NATIVE)
                mode = sizeof(ulong) == 8 ? GUEST_LONG : GUEST_PAE;
        vm->mode = mode;
        b = baselines[mode];
        if (!b->count)
                b = build(mode);
        vmwrite_all(b->fields, b->values, b->count);
        host_state();
        guest_env_tss(mode);
        vmwrite(VMCS_GUEST_TR_BASE, (ulong)this_vmx()->tss);
        /* Real-mode stacks: the end of the page where the program stands. */
        vmwrite(VMCS_GUEST_RSP, mode == GUEST_REAL || mode == GUEST_V86
                                ? PAGE_SIZE : this_vmx()->stack_top);
        vm_program(vm, program_vmcall);
}

void baseline_init(void)
{
        for (unsigned i = 0; i < GUEST_MODES; i++)
                baselines[i] = page_alloc(1);
}
