#include "x86/vmx/guest_env.h"
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/session.h"

static struct guest_env env;

/* Each handler: VMCALL, and the IRET of 64-bit (+0) or other (+8) modes. */
#define HANDLER_SIZE 16
#define HANDLER_32 8
static const u8 handler_code[HANDLER_SIZE] = {
        0x0f, 0x01, 0xc1, 0x48, 0xcf, 0xcc, 0xcc, 0xcc,
        0x0f, 0x01, 0xc1, 0xcf, 0xcc, 0xcc, 0xcc, 0xcc,
};

static void make_handlers(void)
{
        struct gate64 {
                u16 low, selector;
                u8 ist, type;
                u16 middle;
                u32 high, reserved;
        } *gate64;
        struct gate32 {
                u16 low, selector;
                u8 zero, type;
                u16 high;
        } *gate32;
        u16 *vectors = (u16 *)0;

        asm("" : "+r"(vectors));  /* address 0 is the real-mode table */
        env.handlers = page_alloc(1);
        env.low_handlers = low_page(1);
        env.idt64 = page_alloc(1);
        env.idt32 = page_alloc(1);
        gate64 = (struct gate64 *)env.idt64;
        gate32 = (struct gate32 *)env.idt32;
        for (unsigned v = 0; v < 256; v++) {
                u32 at = (u32)(ulong)env.handlers + v * HANDLER_SIZE;

                memcpy(env.handlers + v * HANDLER_SIZE, handler_code,
                       HANDLER_SIZE);
                memcpy(env.low_handlers + v * HANDLER_SIZE,
                       handler_code + HANDLER_32, HANDLER_32);
                gate64[v] = (struct gate64){ (u16)at, SEL_CODE64, 0, 0x8e,
                                             (u16)(at >> 16), 0, 0 };
                at += HANDLER_32;
                gate32[v] = (struct gate32){ (u16)at, SEL_CODE32, 0, 0x8e,
                                             (u16)(at >> 16) };
                vectors[2 * v] = (u16)(v * HANDLER_SIZE);
                vectors[2 * v + 1] = (u16)((ulong)env.low_handlers >> 4);
        }
}

#define TABLE_FLAGS (PTE_P | PTE_W | PTE_U)
#define PAGE_FLAGS (TABLE_FLAGS | PTE_A | PTE_D)

static void make_page_tables(void)
{
        const u64 table = TABLE_FLAGS;

        env.pml4 = page_alloc(1);
        env.pdpt = page_alloc(1);
        env.pae_pdpt = page_alloc(1);
        env.directories = page_alloc(4);
        env.directory32 = page_alloc(1);
        env.pml4[0] = phys(env.pdpt) | table;
        for (u64 i = 0; i < 4; i++) {
                u64 directory = phys(env.directories + 512 * i);

                env.pdpt[i] = directory | table;
                env.pae_pdpt[i] = directory | PTE_P;
        }
        for (u64 i = 0; i < 2048; i++)
                env.directories[i] = i << 21 | PAGE_FLAGS | PTE_PS;
        for (u32 i = 0; i < 1024; i++)
                env.directory32[i] = i << 22 |
                        (u32)(PAGE_FLAGS | PTE_PS);
}

/* The directory entries that guest_map() changed. */
static u32 split[8];
static unsigned splits;

void guest_map(ulong linear, u64 physical, u64 flags)
{
        u64 *entry = &env.directories[(linear & 0xffffffff) >> 21], *table;

        if (*entry & PTE_PS) {
                if (splits == ARRAY_LEN(split)) {
                        case_error("guest_map() in too many places");
                        return;
                }
                table = page_alloc(1);
                for (u64 i = 0; i < 512; i++)
                        table[i] = ((*entry & PTE_ADDR) + (i << 12)) | PAGE_FLAGS;
                split[splits++] = (u32)(entry - env.directories);
                *entry = phys(table) | TABLE_FLAGS;
        }
        table = (u64 *)(ulong)(*entry & PTE_ADDR);
        table[linear >> 12 & 511] = physical | flags;
}

void guest_map_small(const void *page)
{
        guest_map((ulong)page, phys(page), PAGE_FLAGS);
}

/* The kernel's own descriptors, with the first processor's guest TSS. */
static void fill_gdt(void)
{
        memcpy(env.gdt, this_cpu()->gdt, DESC_ENTRIES * sizeof(u64));
        env.gdt[SEL_TSS / 8] = desc_make((u32)(ulong)this_vmx()->tss, TSS_LIMIT,
                                         DESC_TYPE(11) | DESC_P);
        env.gdt[SEL_TSS / 8 + 1] = 0;
}

void guest_env_reset(void)
{
        while (splits) {
                u64 i = split[--splits];

                env.directories[i] = i << 21 | PAGE_FLAGS | PTE_PS;
        }
        if (env.gdt)
                fill_gdt();
}

void guest_env_tss(enum guest_mode mode)
{
        u8 *tss = this_vmx()->tss;
        u32 stack = (u32)this_vmx()->stack0_top;
        bool is_long = mode == GUEST_LONG || mode == GUEST_COMPAT;
        u32 high = is_long ? 0 : SEL_DATA;
        u16 no_io_map = TSS_LIMIT + 1;

        /* RSP0 of the 64-bit TSS is ESP0 and SS0 of the 32-bit one. */
        memcpy(tss + 4, &stack, 4);
        memcpy(tss + 8, &high, 4);
        memcpy(tss + 0x66, &no_io_map, 2);
}

const struct guest_env *guest_env(void)
{
        if (env.gdt)
                return &env;
        make_handlers();
        make_page_tables();
        env.low_code = low_page(1);
        env.gdt = page_alloc(1);
        fill_gdt();
        if (vmx_caps()->ept_vpid) {
                u64 *root = ept_new();

                ept_map_identity(root);
                env.eptp = eptp_of(root, 0);
        }
        return &env;
}

/* The VMCALL of which handler is at linear address @at? -1: none. */
static int handler_at(ulong at)
{
        if (at - (ulong)env.handlers < PAGE_SIZE)
                at -= (ulong)env.handlers;
        else if (at - (ulong)env.low_handlers < PAGE_SIZE)
                at -= (ulong)env.low_handlers;
        else
                return -1;
        return at % HANDLER_32 ? -1 : (int)(at / HANDLER_SIZE);
}

bool vm_event(struct vm *vm, struct guest_event *event)
{
        bool real = vm->mode == GUEST_REAL;
        unsigned word = vm->mode == GUEST_LONG || vm->mode == GUEST_COMPAT ? 8
                        : real ? 2 : 4;
        ulong base = (ulong)vmread(VMCS_GUEST_SS_BASE);
        ulong rsp = (ulong)vmread(VMCS_GUEST_RSP), top, frame[10] = { 0 };
        int vector = handler_at((ulong)(vmread(VMCS_GUEST_RIP) +
                                        vmread(VMCS_GUEST_CS_BASE)));
        unsigned words, i = 0;

        memset(event, 0, sizeof(*event));
        if ((vmread(VMCS_EXIT_REASON) & 0xffff) != EXIT_VMCALL || vector < 0)
                return false;
        top = real ? PAGE_SIZE : this_vmx()->stack_top;
        if (!real && this_vmx()->stack0_top - rsp < PAGE_SIZE)
                top = this_vmx()->stack0_top;
        words = (unsigned)((top - rsp) / word);
        if (top - rsp > sizeof(frame) || words > ARRAY_LEN(frame))
                return false;
        for (unsigned w = 0; w < words; w++)
                memcpy(&frame[w], (void *)(base + rsp + w * word), word);
        event->vector = (u8)vector;
        /* 5 words in 64-bit mode; else 3, 5 from CPL 3, 9 from virtual-8086. */
        event->has_error = word == 8 ? words == 6 : !(words & 1);
        if (event->has_error)
                event->error = (u32)frame[i++];
        event->rip = frame[i];
        event->cs = (u16)frame[i + 1];
        event->rflags = frame[i + 2];
        if (words > i + 3)
                event->rsp = frame[i + 3];
        return true;
}

void vm_event_return(const struct guest_event *event)
{
        ulong rsp = (ulong)vmread(VMCS_GUEST_RSP);

        /* Only 64-bit and 32-bit protected modes push error codes. */
        if (event->has_error)
                vmwrite(VMCS_GUEST_RSP, rsp + (vmread(VMCS_ENTRY_CONTROLS) &
                        CTL_ENTRY_IA32E_MODE_GUEST ? 8 : 4));
        vm_skip();
}
