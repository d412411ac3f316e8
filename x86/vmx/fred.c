#include "x86/vmx/fred.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/msr.h"

#define MSR_IA32_FRED_RSP0 0x1cc

static const u8 vmcall[] = { 0x0f, 0x01, 0xc1 };

/* What delivery uses or changes, or VM entry loads. */
static struct {
        u32 msr;
        bool absent;
        u64 value;
} host[] = {
        { .msr = MSR_IA32_FRED_RSP0 }, { .msr = MSR_IA32_FRED_RSP1 },
        { .msr = MSR_IA32_FRED_RSP2 }, { .msr = MSR_IA32_FRED_RSP3 },
        { .msr = MSR_IA32_FRED_STKLVLS }, { .msr = MSR_IA32_FRED_CONFIG },
        { .msr = MSR_IA32_STAR }, { .msr = MSR_IA32_KERNEL_GS_BASE },
        /* A processor without shadow stacks may not have these. */
        { .msr = MSR_IA32_FRED_SSP1 }, { .msr = MSR_IA32_FRED_SSP2 },
        { .msr = MSR_IA32_FRED_SSP3 },
};
static bool saved;

static void save(void)
{
        if (saved)
                return;
        for (unsigned i = 0; i < ARRAY_LEN(host); i++)
                host[i].absent = rdmsr_safe(host[i].msr, &host[i].value).raised;
        saved = true;
}

void fred_end(void)
{
        for (unsigned i = 0; saved && i < ARRAY_LEN(host); i++)
                if (!host[i].absent)
                        wrmsr(host[i].msr, host[i].value);
        saved = false;
}

static u8 *entry_page(void)
{
        u8 *page = page_alloc(1);

        memcpy(page, vmcall, sizeof(vmcall));
        memcpy(page + FRED_RING0, vmcall, sizeof(vmcall));
        return page;
}

static ulong stack_page(void)
{
        return (ulong)page_alloc(1) + PAGE_SIZE;
}

void fred_begin(struct fred *f)
{
        save();
        f->vm = vm_begin(GUEST_LONG);
        f->page = entry_page();
        for (unsigned i = 0; i < FRED_LEVELS; i++)
                f->stack[i] = stack_page();
        wrmsr(MSR_IA32_STAR, (u64)SEL_CODE64 << 32);
        wrmsr(MSR_IA32_FRED_CONFIG, (ulong)entry_page());
        wrmsr(MSR_IA32_FRED_STKLVLS, 0);
        /* Level 0 has no field in the VMCS. */
        wrmsr(MSR_IA32_FRED_RSP0, f->stack[0]);
        /* Exceptions without end would take stack after stack. */
        vmwrite(VMCS_EXCEPTION_BITMAP, ~0u);
        vm_control(VMCS_GUEST_CR4, CR4_FRED, 0);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_FRED, 0);
        vmwrite(VMCS_GUEST_FRED_CONFIG, (ulong)f->page);
        for (unsigned i = 1; i < FRED_LEVELS; i++) {
                wrmsr(MSR_IA32_FRED_RSP1 + i - 1, stack_page());
                vmwrite(VMCS_GUEST_FRED_RSP1 + 2 * (i - 1), f->stack[i]);
        }
        vm_poison(0);
}

void fred_user(const struct fred *f)
{
        vm_user(f->vm);
}

void fred_inject(u32 info, u32 error, u32 length, u64 data)
{
        vm_inject(info, error, length);
        vmwrite(VMCS_INJECTED_EVENT_DATA, data);
}

struct fred_want fred_expect(const struct fred *f, u32 info, u32 length)
{
        u32 type = info >> 8 & 7;
        bool software = type >= 4;
        bool user = (vmread(VMCS_GUEST_SS_ACCESS_RIGHTS) >> 5 & 3) == 3;
        u64 config = vmread(VMCS_GUEST_FRED_CONFIG);
        struct fred_want w = {
                .frame = {
                        .rip = vmread(VMCS_GUEST_RIP) + (software ? length : 0),
                        .cs = vmread(VMCS_GUEST_CS_SELECTOR) |
                              (user ? 0 : FRED_CS_LEVEL(config & 3)),
                        .rflags = vmread(VMCS_GUEST_RFLAGS),
                        .rsp = vmread(VMCS_GUEST_RSP),
                        .ss = vmread(VMCS_GUEST_SS_SELECTOR) |
                              FRED_SS_VECTOR((u8)info) | FRED_SS_TYPE(type) |
                              FRED_SS_64BIT |
                              FRED_SS_LENGTH(software ? length : 0),
                },
                .entry = user ? 0 : FRED_RING0,
        };

        w.top = user ? f->stack[0]
                     : (ulong)(w.frame.rsp - (config & FRED_RED_ZONE(7))) & ~63ul;
        return w;
}

/* The frame at @rsp: on one of the guest's stacks, or NULL. */
static const struct fred_frame *frame_at(const struct fred *f,
                                         const struct fred_want *want, ulong rsp)
{
        bool known = rsp + sizeof(struct fred_frame) == want->top;

        for (unsigned i = 0; i < FRED_LEVELS; i++)
                known = known || f->stack[i] - rsp < PAGE_SIZE;
        return known ? (const struct fred_frame *)rsp : NULL;
}

bool check_fred(const char *file, int line, const char *what,
                const struct fred *f, struct vmx_result r,
                const struct fred_want *want)
{
        static const char *const names[] = {
                "error code in the frame", "RIP in the frame", "CS in the frame",
                "RFLAGS in the frame", "RSP in the frame", "SS in the frame",
                "event data in the frame", "the frame's last word",
        };
        ulong rsp = (ulong)vmread(VMCS_GUEST_RSP);
        const struct fred_frame *frame = frame_at(f, want, rsp);
        u64 g[8], w[8];
        bool held;

        if (!check_exit(file, line, what, r, (struct vmx_result)EXITS(EXIT_VMCALL)))
                return false;
        held = check_equal(file, line, "RIP of the handler", vmread(VMCS_GUEST_RIP),
                           (ulong)f->page + want->entry);
        if (want->top)
                held &= check_equal(file, line, "RSP of the handler", rsp,
                                    want->top - sizeof(*frame));
        if (!check_true(file, line, "the frame is on a stack of the guest",
                        frame != NULL, "RSP 0x%llx", (unsigned long long)rsp))
                return false;
        memcpy(g, frame, sizeof(g));
        memcpy(w, &want->frame, sizeof(w));
        for (unsigned i = 0; i < ARRAY_LEN(names); i++)
                held &= check_equal(file, line, names[i], g[i], w[i]);
        held &= check_equal(file, line, "RFLAGS of the handler",
                            vmread(VMCS_GUEST_RFLAGS) & ~(u64)RFLAGS_RF,
                            RFLAGS_FIXED);
        held &= check_equal(file, line, "CS of the handler",
                            vmread(VMCS_GUEST_CS_SELECTOR), SEL_CODE64);
        held &= check_equal(file, line, "SS of the handler",
                            vmread(VMCS_GUEST_SS_SELECTOR), SEL_DATA);
        held &= check_equal(file, line, "CPL of the handler",
                            vmread(VMCS_GUEST_SS_ACCESS_RIGHTS) >> 5 & 3, 0);
        return held;
}
