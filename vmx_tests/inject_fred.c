/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection, for a guest that
 * uses FRED event delivery: what an injected event of each type leaves on the
 * stack.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/fred.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"

static const struct event {
        struct row head;
        u32 info;
        u8 length;
        u64 ss;               /* bits 18:16 of the frame's SS */
} events[] = {
        { ROW("external", "external interrupt"), EXTERNAL(0x30), 0, 0 },
        { ROW("nmi", "NMI"), NMI, 0, FRED_SS_NMI },
        { ROW("db", "#DB"), HARDWARE(VEC_DB), 0, 0 },
        { ROW("ud", "#UD"), HARDWARE(VEC_UD), 0, 0 },
        { ROW("nm", "#NM"), HARDWARE(VEC_NM), 0, 0 },
        { ROW("gp", "#GP"), HARDWARE_CODE(VEC_GP), 0, 0 },
        { ROW("pf", "#PF"), HARDWARE_CODE(VEC_PF), 0, 0 },
        { ROW("int-n", "INT 30H"), INT_N(0x30), 2, FRED_SS_SOFTWARE },
        { ROW("int1", "INT1"), INT1_TRAP, 1, 0 },
        { ROW("int3", "INT3"), SOFTWARE(VEC_BP), 1, 0 },
        { ROW("into", "INTO"), SOFTWARE(VEC_OF), 1, 0 },
        { ROW("syscall", "SYSCALL", "INJ_FRED_SYSCALL_SYSENTER"), SYSCALL, 2,
          FRED_SS_SOFTWARE },
        { ROW("sysenter", "SYSENTER", "INJ_FRED_SYSCALL_SYSENTER"), SYSENTER, 2,
          FRED_SS_SOFTWARE },
};

static bool is_idt_event(const struct event *e)
{
        return (e->info & 0x700) != 0x700;
}

/* Makes @e the injected event. */
static struct fred_want inject(const struct fred *f, const struct event *e,
                               u64 data)
{
        struct fred_want want;

        fred_inject(e->info, 0, e->length, data);
        want = fred_expect(f, e->info, e->length);
        want.frame.ss |= e->ss;
        want.frame.data = data;
        return want;
}

TABLE(ring0, events, .id = "inject.fred.ring-0",
      .title = "delivered by FRED from CPL 0, without an IDT", .sdm = SDM,
      .rules = "INJ_FRED_DELIVERY INJ_FRED_RIP INJ_FRED_SS_SOFTWARE "
               "INJ_FRED_SS_NMI INJ_FRED_CPL_FROM_SS_DPL", .needs = N_FRED)
{
        const struct event *e = &events[row];
        struct fred f;
        struct fred_want want;

        fred_begin(&f);
        vmwrite(VMCS_GUEST_IDTR_LIMIT, 0);
        vmwrite(VMCS_GUEST_RSP, vmread(VMCS_GUEST_RSP) - 8);
        want = inject(&f, e, 0);
        CHECK_FRED("with FRED", &f, vm_enter(f.vm), &want);
        CHECK_ORIGINAL_EVENT(0, 0);

        /* By contrast: through the IDT, or no event. */
        fred_begin(&f);
        if (!is_idt_event(e)) {
                CHECK_EXIT("no event", vm_enter(f.vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        } else {
                vm_control(VMCS_GUEST_CR4, 0, CR4_FRED);
                want = inject(&f, e, 0);
                CHECK_DELIVERED("without FRED", f.vm, vm_enter(f.vm),
                                .vector = (u8)e->info,
                                .has_error = e->info & EVENT_HAS_ERROR,
                                .rip = want.frame.rip);
        }
        fred_end();
}

/* Bits 1:0 of IA32_FRED_CONFIG are not what CS gets from there. */
TABLE(ring3, events, .id = "inject.fred.ring-3",
      .title = "delivered by FRED from CPL 3", .sdm = SDM,
      .rules = "INJ_FRED_DELIVERY INJ_FRED_RIP INJ_FRED_SS_SOFTWARE "
               "INJ_FRED_SS_NMI INJ_FRED_CPL_FROM_SS_DPL INJ_FRED_CS_STACK_LEVEL",
      .needs = N_FRED)
{
        const struct event *e = &events[row];
        struct fred f;
        struct fred_want want;

        for (unsigned level = 0; level < FRED_LEVELS; level += 2) {
                fred_begin(&f);
                fred_user(&f);
                vm_control(VMCS_GUEST_FRED_CONFIG, FRED_LEVEL(level), 0);
                vmwrite(VMCS_GUEST_IDTR_LIMIT, 0);
                want = inject(&f, e, 0);
                if (level)
                        want.top = 0;
                CHECK_FRED("from CPL 3", &f, vm_enter(f.vm), &want);
        }
        fred_end();
}

#define DATA 0x1122334455667788

TABLE(data, events, .id = "inject.fred.data",
      .title = "the event data is the injected one, whatever CR2 and DR6 are",
      .sdm = SDM, .rules = "INJ_FRED_EVENT_DATA", .needs = N_FRED)
{
        static const u64 values[] = { DATA, ~0ull, 0 };
        struct fred f;
        struct fred_want want;

        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                fred_begin(&f);
                write_cr2(0x2345678);
                write_dr6(DR6_INIT | DR6_B2);
                want = inject(&f, &events[row], values[i]);
                CHECK_FRED("from CPL 0", &f, vm_enter(f.vm), &want);
        }
        write_dr6(DR6_INIT);
        fred_end();
}

static const struct {
        struct row head;
        u32 info, error;
        u16 want;
        u64 ss;
} errors[] = {
        { ROW("gp", "#GP with an error code"), HARDWARE_CODE(VEC_GP), 0x5a, 0x5a },
        { ROW("gp-ext", "#GP with EXT"), HARDWARE_CODE(VEC_GP), 1, 1 },
        { ROW("pf", "#PF with an error code"), HARDWARE_CODE(VEC_PF),
          PF_P | PF_W | PF_U, PF_P | PF_W | PF_U },
        { ROW("df", "#DF with an error code"), HARDWARE_CODE(VEC_DF), 0, 0 },
        { ROW("gp-none", "#GP without an error code", NULL, "error-code-optional"),
          HARDWARE(VEC_GP), 0x5a, 0 },
        { ROW("pf-none", "#PF without an error code", NULL, "error-code-optional"),
          HARDWARE(VEC_PF), PF_W, 0 },
        { ROW("ud-code", "#UD with an error code", NULL, "error-code-optional"),
          HARDWARE_CODE(VEC_UD), 0x5a, 0x5a },
        { ROW("ud", "#UD"), HARDWARE(VEC_UD), 0xffff, 0 },
        { ROW("external", "external interrupt"), EXTERNAL(0x30), 0xffff, 0 },
        { ROW("nmi", "NMI"), NMI, 0xffff, 0, FRED_SS_NMI },
        { ROW("int-n", "INT 0DH"), INT_N(VEC_GP), 0xffff, 0, FRED_SS_SOFTWARE },
        { ROW("int3", "INT3"), SOFTWARE(VEC_BP), 0xffff, 0 },
        { ROW("syscall", "SYSCALL"), SYSCALL, 0xffff, 0, FRED_SS_SOFTWARE },
};

TABLE(error_code, errors, .id = "inject.fred.error-code",
      .title = "the frame has the injected error code, or 0", .sdm = SDM,
      .rules = "INJ_FRED_ERROR_CODE", .needs = N_FRED)
{
        u32 length = errors[row].info & 0x400 ? 2 : 0;
        struct fred f;
        struct fred_want want;

        fred_begin(&f);
        fred_inject(errors[row].info, errors[row].error, length, 0);
        want = fred_expect(&f, errors[row].info, length);
        want.frame.ss |= errors[row].ss;
        want.frame.error = errors[row].want;
        CHECK_FRED("VM entry", &f, vm_enter(f.vm), &want);
        fred_end();
}

static const struct {
        struct row head;
        u32 info;
        u64 ss;
        bool zero;
} lengths[] = {
        { ROW("int-n", "INT 30H"), INT_N(0x30), FRED_SS_SOFTWARE },
        { ROW("int1", "INT1"), INT1_TRAP, 0 },
        { ROW("int3", "INT3"), SOFTWARE(VEC_BP), 0 },
        { ROW("into", "INTO"), SOFTWARE(VEC_OF), 0 },
        { ROW("syscall", "SYSCALL"), SYSCALL, FRED_SS_SOFTWARE },
        { ROW("sysenter", "SYSENTER"), SYSENTER, FRED_SS_SOFTWARE },
        { ROW("int-n.0", "INT 30H, length 0", NULL, "inject-length-0"),
          INT_N(0x30), FRED_SS_SOFTWARE, true },
        { ROW("syscall.0", "SYSCALL, length 0", NULL, "inject-length-0"),
          SYSCALL, FRED_SS_SOFTWARE, true },
};

TABLE(length, lengths, .id = "inject.fred.length",
      .title = "the frame has the VM-entry instruction length, and RIP after it",
      .sdm = SDM, .rules = "INJ_FRED_INSTRUCTION_LENGTH_SAVED INJ_FRED_RIP",
      .needs = N_FRED)
{
        static const u8 some[] = { 1, 2, 7, 8, 15 };
        unsigned count = lengths[row].zero ? 1 : ARRAY_LEN(some);
        struct fred f;
        struct fred_want want;

        for (unsigned i = 0; i < count; i++) {
                u32 n = lengths[row].zero ? 0 : some[i];

                fred_begin(&f);
                fred_inject(lengths[row].info, 0, n, 0);
                want = fred_expect(&f, lengths[row].info, n);
                want.frame.ss |= lengths[row].ss;
                CHECK_FRED("VM entry", &f, vm_enter(f.vm), &want);
        }
        fred_end();
}

/* External interrupts and NMIs are no part of this: such an entry may fail. */
static const struct event blocked[] = {
        { ROW("exception", "#UD"), HARDWARE(VEC_UD), 0, 0 },
        { ROW("int-n", "INT 30H"), INT_N(0x30), 2, FRED_SS_SOFTWARE },
        { ROW("int1", "INT1"), INT1_TRAP, 1, 0 },
        { ROW("int3", "INT3"), SOFTWARE(VEC_BP), 1, 0 },
};

TABLE(blocking, blocked, .id = "inject.fred.sti",
      .title = "the frame has the blocking by STI, the handler none", .sdm = SDM,
      .rules = "INJ_FRED_SS_STI", .needs = N_FRED)
{
        struct fred f;
        struct fred_want want;

        for (u32 bit = 0; bit <= BLOCKED_STI; bit++) {
                fred_begin(&f);
                vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
                vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, bit);
                want = inject(&f, &blocked[row], 0);
                if (bit)
                        want.frame.ss |= FRED_SS_STI;
                CHECK_FRED("VM entry", &f, vm_enter(f.vm), &want);
                CHECK_BLOCKING(0);
        }

        /* By contrast: VMCALL, the first instruction, leaves it. */
        fred_begin(&f);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_IF, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI);
        CHECK_EXIT("without injection", vm_enter(f.vm), EXITS(EXIT_VMCALL));
        CHECK_BLOCKING(BLOCKED_STI);
        fred_end();
}

/* Bits of IA32_S_CET. */
#define ENDBR_EN BIT(2)
#define TRACKER BIT(11)

static const struct {
        struct row head;
        bool cet, user;
        u64 s_cet;
        u64 cs;
} trackers[] = {
        { ROW("waiting", "CR4.CET, ENDBR_EN and TRACKER"), true, false,
          ENDBR_EN | TRACKER, FRED_CS_TRACKER },
        { ROW("idle", "TRACKER = 0"), true, false, ENDBR_EN, 0 },
        { ROW("disabled", "ENDBR_EN = 0"), true, false, TRACKER, 0 },
        { ROW("no-cet", "CR4.CET = 0"), false, false, ENDBR_EN | TRACKER, 0 },
        { ROW("ring-3", "CPL 3"), true, true, ENDBR_EN | TRACKER, 0 },
};

TABLE(tracker, trackers, .id = "inject.fred.tracker",
      .title = "the frame has the state of the indirect-branch tracker", .sdm = SDM,
      .rules = "INJ_FRED_CS_IBT_TRACKER",
      .needs = N_FRED " cet-ibt load-cet-state-entry load-cet-state-exit")
{
        /* ENDBR64, VMCALL: whatever the tracker is in the handler. */
        static const u8 handler[] = { 0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x01, 0xc1 };
        struct fred f;
        struct fred_want want;

        fred_begin(&f);
        if (trackers[row].user)
                fred_user(&f);
        memcpy(f.page, handler, sizeof(handler));
        memcpy(f.page + FRED_RING0, handler, sizeof(handler));
        vm_control(VMCS_GUEST_CR0, CR0_WP, 0);
        vm_control(VMCS_GUEST_CR4, trackers[row].cet ? CR4_CET : 0, 0);
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_CET_STATE, 0);
        vm_control(VMCS_EXIT_CONTROLS, CTL_EXIT_LOAD_CET_STATE, 0);
        vmwrite(VMCS_GUEST_S_CET, trackers[row].s_cet);
        fred_inject(HARDWARE(VEC_UD), 0, 0, 0);
        want = fred_expect(&f, HARDWARE(VEC_UD), 0);
        want.frame.cs |= trackers[row].cs;
        want.entry += 4;
        CHECK_FRED("VM entry", &f, vm_enter(f.vm), &want);
        fred_end();
}

/* The bit is no more than a number here: no enclave is needed. */
TABLE(enclave, events, .id = "inject.fred.enclave",
      .title = "the frame has the enclave bit of the interruptibility state",
      .sdm = SDM, .rules = "INJ_FRED_ENCLAVE_BIT", .needs = N_FRED " sgx")
{
        struct fred f;
        struct fred_want want;

        for (unsigned set = 0; set < 2; set++) {
                fred_begin(&f);
                vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE,
                        set ? BLOCKED_ENCLAVE : 0);
                want = inject(&f, &events[row], 0);
                if (set)
                        want.frame.ss |= FRED_SS_ENCLAVE;
                CHECK_FRED("VM entry", &f, vm_enter(f.vm), &want);
        }
        fred_end();
}
