/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Non-Register State: interruptibility state, alone and with injection.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Checks on Guest Non-Register State"

#define BLOCKED_SMI 4u
#define IN_ENCLAVE 0x10u

#define STATE(bits) EDITS(SET(GUEST_INTERRUPTIBILITY_STATE, bits))
#define IF_1 OR(GUEST_RFLAGS, RFLAGS_IF)

#define RESERVED(name, guest, needs_)                                        \
FAMILY(reserved_##name, 27, .id = "entry.guest.interruptibility.reserved." #name, \
       .title = "a bit from 5 on must be 0", .sdm = SDM,                     \
       .rules = "ENTG_INTR_RESERVED", .needs = needs_)                       \
{                                                                            \
        struct probe p = {                                                   \
                .mode = guest, .given = EDITS(SHOW_EXCEPTIONS, IF_1),        \
                .reject = STATE(BIT(5 + row)), .outcome = BAD_GUEST,         \
        };                                                                   \
                                                                             \
        probe_check(self, &p);                                               \
}
RESERVED(long, GUEST_LONG, "host64")
RESERVED(pae, GUEST_PAE, "")
RESERVED(v86, GUEST_V86, "")
RESERVED(real, GUEST_REAL, "unrestricted-guest")

/* In each mode: the first alternative accepted, the second refused. */
static const struct probe rows[] = {
        { ROW("sti", "blocking by STI alone, or with blocking by MOV SS",
              "ENTG_INTR_STI_AND_MOVSS"),
          .given = EDITS(SHOW_EXCEPTIONS, IF_1), .accept = STATE(BLOCKED_STI),
          .reject = STATE(BLOCKED_STI | BLOCKED_MOV_SS), .outcome = BAD_GUEST },
        { ROW("mov-ss", "blocking by MOV SS alone, or with blocking by STI",
              "ENTG_INTR_STI_AND_MOVSS"),
          .given = EDITS(SHOW_EXCEPTIONS, IF_1), .accept = STATE(BLOCKED_MOV_SS),
          .reject = STATE(BLOCKED_STI | BLOCKED_MOV_SS), .outcome = BAD_GUEST },
        { ROW("sti-if", "blocking by STI needs RFLAGS.IF = 1",
              "ENTG_INTR_STI_NEEDS_IF"),
          .given = EDITS(SHOW_EXCEPTIONS),
          .accept = EDITS(SET(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_STI), IF_1),
          .reject = STATE(BLOCKED_STI), .outcome = BAD_GUEST },
        { ROW("mov-ss-if-0", "blocking by MOV SS with RFLAGS.IF = 0",
              "ENTG_INTR_MOVSS_IF_FREE"),
          .given = EDITS(SHOW_EXCEPTIONS), .accept = STATE(BLOCKED_MOV_SS) },
        { ROW("mov-ss-if-1", "blocking by MOV SS with RFLAGS.IF = 1",
              "ENTG_INTR_MOVSS_IF_FREE"),
          .given = EDITS(SHOW_EXCEPTIONS, IF_1),
          .accept = STATE(BLOCKED_MOV_SS) },
        { ROW("smi", "blocking by SMI outside SMM", "ENTG_INTR_SMI_OUTSIDE_SMM"),
          .given = EDITS(SHOW_EXCEPTIONS, IF_1), .reject = STATE(BLOCKED_SMI),
          .outcome = BAD_GUEST },
        { ROW("enclave.absent", "enclave interruption without SGX",
              "ENTG_INTR_ENCLAVE_NEEDS_SGX", "!sgx"),
          .given = EDITS(SHOW_EXCEPTIONS, IF_1), .reject = STATE(IN_ENCLAVE),
          .outcome = BAD_GUEST },
        { ROW("enclave", "enclave interruption with SGX",
              "ENTG_INTR_ENCLAVE_NEEDS_SGX", "sgx"),
          .given = EDITS(SHOW_EXCEPTIONS, IF_1), .accept = STATE(IN_ENCLAVE) },
        { ROW("enclave-mov-ss", "enclave interruption and blocking by MOV SS",
              "ENTG_INTR_ENCLAVE_AND_MOVSS", "sgx"),
          .given = EDITS(SHOW_EXCEPTIONS, IF_1),
          .accept = STATE(IN_ENCLAVE | BLOCKED_STI),
          .reject = STATE(IN_ENCLAVE | BLOCKED_MOV_SS), .outcome = BAD_GUEST },
};

#define IN_MODE(name, guest, needs_)                                         \
TABLE(rows_##name, rows, .id = "entry.guest.interruptibility." #name,        \
      .title = "interruptibility state", .sdm = SDM, .needs = needs_)        \
{                                                                            \
        struct probe p = *(const struct probe *)case_row(self, row);         \
                                                                             \
        p.mode = guest;                                                      \
        probe_check(self, &p);                                               \
}
IN_MODE(long, GUEST_LONG, "host64")
IN_MODE(compat, GUEST_COMPAT, "host64")
IN_MODE(pae, GUEST_PAE, "")
IN_MODE(v86, GUEST_V86, "")
IN_MODE(real, GUEST_REAL, "unrestricted-guest")

/*
 * Injection: on the accepted side the guest's handler is reached, or the
 * pending MTF VM exit comes. Only the reject side has @reject.
 */
struct inject_row {
        struct row head;
        u32 info;
        const struct edit *given, *accept, *reject;
        bool either;  /* the rejected side: refused with 3, or accepted */
};

#define VIRTUAL_NMIS OR(PIN_CONTROLS, CTL_PIN_NMI_EXITING | CTL_PIN_VIRTUAL_NMIS)
#define BOTH_BLOCKS(id_, title_, info_, needs_)                              \
        { .head = { id_ ".sti", title_ " with blocking by STI",              \
                    "ENTG_INTR_OTHER_EVENTS_WITH_BLOCKING_OK", needs_ },     \
          .info = info_, .accept = STATE(BLOCKED_STI) },                     \
        { .head = { id_ ".mov-ss", title_ " with blocking by MOV SS",        \
                    "ENTG_INTR_OTHER_EVENTS_WITH_BLOCKING_OK", needs_ },     \
          .info = info_, .accept = STATE(BLOCKED_MOV_SS) }

static const struct inject_row inject_rows[] = {
        { .head = { "external.if", "an external interrupt needs RFLAGS.IF = 1",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION" },
          .info = EXTERNAL(0x30),
          .reject = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "external.if-low", "vector 0 needs RFLAGS.IF = 1 as well",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION" },
          .info = EXTERNAL(0), .reject = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "external.if-high", "vector FFH needs RFLAGS.IF = 1 as well",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION" },
          .info = EXTERNAL(0xff),
          .reject = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "nmi.if-0", "an NMI does not need RFLAGS.IF = 1",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION" },
          .info = NMI, .accept = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "hardware.if-0", "an exception does not need RFLAGS.IF = 1",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION" },
          .info = HARDWARE(VEC_UD), .accept = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "int.if-0", "INT n does not need RFLAGS.IF = 1",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION" },
          .info = INT_N(0x30), .accept = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "privileged.if-0", "INT1 does not need RFLAGS.IF = 1",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION" },
          .info = INT1_TRAP, .accept = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "software.if-0", "INT3 does not need RFLAGS.IF = 1",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION" },
          .info = SOFTWARE(VEC_BP), .accept = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "mtf.if-0", "a pending MTF VM exit does not need RFLAGS.IF = 1",
                    "ENTG_RFLAGS_IF_EXTINT_INJECTION", "monitor-trap-flag" },
          .info = PENDING_MTF, .accept = EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)) },
        { .head = { "external.sti", "an external interrupt and blocking by STI",
                    "ENTG_INTR_EXTINT_WITH_STI" },
          .info = EXTERNAL(0x30), .reject = STATE(BLOCKED_STI) },
        { .head = { "external.mov-ss",
                    "an external interrupt and blocking by MOV SS",
                    "ENTG_INTR_EXTINT_WITH_MOVSS" },
          .info = EXTERNAL(0x30), .reject = STATE(BLOCKED_MOV_SS) },
        { .head = { "external.virtual-nmi-blocked",
                    "an external interrupt and blocking by virtual NMI",
                    "ENTG_INTR_EXTINT_WITH_NMI_BLOCKING_OK",
                    "nmi-exiting virtual-nmis" },
          .info = EXTERNAL(0x30), .given = EDITS(VIRTUAL_NMIS),
          .accept = STATE(BLOCKED_NMI) },
        { .head = { "external.nmi-blocked",
                    "an external interrupt and blocking by NMI",
                    "ENTG_INTR_EXTINT_WITH_NMI_BLOCKING_OK" },
          .info = EXTERNAL(0x30), .accept = STATE(BLOCKED_NMI) },
        { .head = { "nmi.mov-ss", "an NMI and blocking by MOV SS",
                    "ENTG_INTR_NMI_WITH_MOVSS" },
          .info = NMI, .reject = STATE(BLOCKED_MOV_SS) },
        { .head = { "nmi.sti", "an NMI and blocking by STI",
                    "ENTG_INTR_NMI_WITH_STI ENTG_FAIL_QUAL_3" },
          .info = NMI, .reject = STATE(BLOCKED_STI), .either = true },
        { .head = { "nmi.virtual-nmi-blocked",
                    "an NMI and blocking by virtual NMI",
                    "ENTG_INTR_NMI_WITH_VNMI_BLOCKING",
                    "nmi-exiting virtual-nmis" },
          .info = NMI, .given = EDITS(VIRTUAL_NMIS),
          .reject = STATE(BLOCKED_NMI) },
        { .head = { "nmi.nmi-blocked",
                    "an NMI and blocking by NMI, without virtual NMIs",
                    "ENTG_INTR_NMI_WITH_NMI_BLOCKING_NO_VNMI_OK" },
          .info = NMI, .accept = STATE(BLOCKED_NMI) },
        { .head = { "nmi.nmi-blocked-exiting",
                    "an NMI and blocking by NMI, with NMI exiting alone",
                    "ENTG_INTR_NMI_WITH_NMI_BLOCKING_NO_VNMI_OK", "nmi-exiting" },
          .info = NMI, .given = EDITS(OR(PIN_CONTROLS, CTL_PIN_NMI_EXITING)),
          .accept = STATE(BLOCKED_NMI) },
        BOTH_BLOCKS("hardware-ud", "#UD", HARDWARE(VEC_UD), NULL),
        BOTH_BLOCKS("hardware-gp", "#GP", HARDWARE_CODE(VEC_GP), NULL),
        BOTH_BLOCKS("int", "INT 30H", INT_N(0x30), NULL),
        BOTH_BLOCKS("privileged", "INT1", INT1_TRAP, NULL),
        BOTH_BLOCKS("software-bp", "INT3", SOFTWARE(VEC_BP), NULL),
        BOTH_BLOCKS("software-of", "INTO", SOFTWARE(VEC_OF), NULL),
        BOTH_BLOCKS("mtf", "a pending MTF VM exit", PENDING_MTF,
                    "monitor-trap-flag"),
};

static struct vm *prepare(const struct inject_row *r, const struct edit *side)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | RFLAGS_IF);
        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, r->info);
        vmwrite(VMCS_ENTRY_INSTRUCTION_LENGTH, 1);
        vmcs_edit(r->given);
        vmcs_edit(side);
        vm_poison(0);
        return vm;
}

static void accepted(const struct inject_row *r, const struct edit *side)
{
        struct vm *vm = prepare(r, side);
        struct vmx_result result = vm_enter(vm);
        struct guest_event event;

        if (r->info == PENDING_MTF) {
                CHECK_EXIT("the injection is accepted", result,
                           EXITS(EXIT_MONITOR_TRAP_FLAG));
                return;
        }
        if (!CHECK_EXIT("the injection is accepted", result, EXITS(EXIT_VMCALL)))
                return;
        CHECK("the handler is reached", vm_event(vm, &event),
              "guest RIP 0x%llx", (unsigned long long)vmread(VMCS_GUEST_RIP));
        CHECK_EQ("the vector", event.vector, r->info & 0xff);
}

TABLE(inject, inject_rows, .id = "entry.guest.interruptibility.inject",
      .title = "injection", .sdm = SDM)
{
        const struct inject_row *r = case_row(self, row);
        struct vmx_result result;

        accepted(r, r->accept);
        if (!r->reject) {
                nmi_unblock();
                return;
        }
        result = vm_enter(prepare(r, r->reject));
        /* The 2018 text leaves it to the processor whether STI blocks NMIs. */
        if (r->either && result.kind == VMX_EXIT && result.code == EXIT_VMCALL)
                CHECK("the handler of the NMI is reached",
                      vm_event(&this_vmx()->vm, &(struct guest_event){ 0 }),
                      "guest RIP 0x%llx",
                      (unsigned long long)vmread(VMCS_GUEST_RIP));
        else if (r->either)
                CHECK_EXIT("the injection is refused", result,
                           ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, 3));
        else
                CHECK_EXIT("the injection is refused", result, BAD_GUEST);
        nmi_unblock();
}

/*
 * An external interrupt with the vector of user-interrupt notifications is not
 * delivered, but the checks are those of any other. The posted-interrupt
 * descriptor is empty.
 */
#define MSR_IA32_UINTR_PD 0x989

static u64 old_pd;

static void user_interrupts(__attribute__((unused)) struct vm *vm)
{
        old_pd = rdmsr(MSR_IA32_UINTR_PD);
        wrmsr(MSR_IA32_UINTR_PD, phys(page_alloc(1)));
}

static void no_user_interrupts(void)
{
        wrmsr(MSR_IA32_UINTR_PD, old_pd);
}

static const struct edit *const uinv_bad[] = {
        EDITS(CLEAR(GUEST_RFLAGS, RFLAGS_IF)), STATE(BLOCKED_STI),
        STATE(BLOCKED_MOV_SS),
};

FAMILY(uinv, 3, .id = "entry.guest.interruptibility.inject.uinv",
       .title = "user-interrupt notification: IF = 0, blocking by STI, by MOV SS",
       .sdm = SDM, .rules = "ENTG_UINV_INJECTION_CHECKS_APPLY",
       .needs = "host64 uintr load-uinv")
{
        struct probe p = {
                .mode = GUEST_LONG, .prepare = user_interrupts,
                .restore = no_user_interrupts,
                .given = EDITS(SHOW_EXCEPTIONS, IF_1, OR(GUEST_CR4, BIT(25)),
                               OR(ENTRY_CONTROLS, CTL_ENTRY_LOAD_UINV),
                               SET(GUEST_UINV, 0x30),
                               SET(ENTRY_INTERRUPTION_INFO, EXTERNAL(0x30))),
                .reject = uinv_bad[row], .outcome = BAD_GUEST,
        };

        probe_check(self, &p);
}
