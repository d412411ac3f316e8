/*
 * SDM Vol. 3, VM Entries > VM Exits During Event Injection, and VM Exits >
 * Information for VM Exits During Event Delivery, for a guest that uses FRED
 * event delivery. Also pending debug exceptions, and NMIs unblocked by ERETS and
 * ERETU.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/vmx/fred.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"
#define SDM_DELIVERY "VM Exits > Information for VM Exits During Event Delivery"
#define DATA 0x1122334455667788

static const struct event {
        struct row head;
        u32 info;
        u8 length;
        u8 ext;               /* of the error code of an exception it meets */
} events[] = {
        { ROW("external", "external interrupt"), EXTERNAL(0x30), 0, 1 },
        { ROW("nmi", "NMI"), NMI, 0, 1 },
        { ROW("db", "#DB"), HARDWARE(VEC_DB), 0, 1 },
        { ROW("ud", "#UD"), HARDWARE(VEC_UD), 0, 1 },
        { ROW("int-n", "INT 30H"), INT_N(0x30), 7, 0 },
        { ROW("int1", "INT1"), INT1_TRAP, 1, 1 },
        { ROW("int3", "INT3"), SOFTWARE(VEC_BP), 1, 0 },
        { ROW("syscall", "SYSCALL"), SYSCALL, 2, 0 },
        { ROW("syscall.15", "SYSCALL, 15 bytes"), SYSCALL, 15, 0 },
        { ROW("sysenter", "SYSENTER"), SYSENTER, 2, 0 },
};

static bool is_system_call(const struct event *e)
{
        return (e->info & 0x700) == 0x700;
}

static void begin(struct fred *f, const struct event *e, ulong rsp)
{
        fred_begin(f);
        if (rsp)
                vmwrite(VMCS_GUEST_RSP, rsp);
        fred_inject(e->info, 0, e->length, DATA);
}

static void check_delivered_without_exit(const struct event *e)
{
        struct fred f;

        begin(&f, e, 0);
        CHECK_EXIT("with a good stack", vm_enter(f.vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)f.page + FRED_RING0);
        CHECK_ORIGINAL_EVENT(0, 0);
}

/* The exit came during delivery of @e, before anything of it was to be seen. */
static void check_original(const struct event *e, ulong rsp)
{
        /* How the field names SYSCALL and SYSENTER is not said. */
        if (is_system_call(e))
                CHECK_VMCS_MASKED(IDT_VECTORING_INFO, EVENT_VALID, EVENT_VALID);
        else
                CHECK_ORIGINAL_EVENT(e->info, 0);
        CHECK_VMCS(ORIGINAL_EVENT_DATA, DATA);
        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
        CHECK_VMCS(GUEST_RSP, rsp);
}

/* #SS or #GP: which is not the matter here. */
TABLE(ext, events, .id = "inject.fred.exit.ext",
      .title = "EXT in the error code of an exception that delivery meets",
      .sdm = SDM, .rules = "INJ_FRED_NESTED_EXT_SYSCALL", .needs = N_FRED)
{
        const struct event *e = &events[row];
        const ulong rsp = (ulong)BIT(62);
        struct fred f;
        u8 vector;

        check_delivered_without_exit(e);
        begin(&f, e, rsp);
        CHECK_EXIT("RSP is not canonical", vm_enter(f.vm),
                   EXITS(EXIT_EXCEPTION_NMI));
        vector = (u8)vmread(VMCS_EXIT_INTERRUPTION_INFO);
        CHECK("#SS or #GP", vector == VEC_SS || vector == VEC_GP, "vector %u",
              vector);
        CHECK_EXITING_EVENT(HARDWARE_CODE(vector) | NESTED, e->ext);
        check_original(e, rsp);
        fred_end();
}

/* The VM-exit instruction length has a meaning for software events only. */
TABLE(page_fault, events, .id = "inject.fred.exit.page-fault",
      .title = "a page fault on the stack exits, with the event's data and length",
      .sdm = SDM_DELIVERY,
      .rules = "INJ_EXIT_FRED_ORIGINAL_EVENT_DATA INJ_EXIT_FRED_SYSCALL_LENGTH",
      .needs = N_FRED)
{
        const struct event *e = &events[row];
        ulong rsp = (ulong)page_alloc(1) + PAGE_SIZE;
        struct fred f;

        check_delivered_without_exit(e);
        begin(&f, e, rsp);
        *vm_pte(f.vm, (u8 *)rsp - 1) = 0;
        CHECK_EXIT("the stack is not present", vm_enter(f.vm),
                   EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_PF) | NESTED, PF_W);
        check_original(e, rsp);
        if (e->length)
                CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, e->length);
        fred_end();
}

/* Here the length is not defined for SYSCALL and SYSENTER. */
TABLE(ept_violation, events, .id = "inject.fred.exit.ept-violation",
      .title = "an EPT violation on the stack exits, with the event's data",
      .sdm = SDM_DELIVERY, .rules = "INJ_EXIT_FRED_ORIGINAL_EVENT_DATA",
      .needs = N_FRED " enable-ept")
{
        const struct event *e = &events[row];
        const ulong rsp = EPT_HOLE + PAGE_SIZE;
        struct fred f;

        begin(&f, e, rsp);
        with_ept_hole(f.vm);
        CHECK_EXIT("the stack is not mapped by EPT", vm_enter(f.vm),
                   EXITS(EXIT_EPT_VIOLATION));
        check_original(e, rsp);
        if (e->length && !is_system_call(e))
                CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, e->length);
        fred_end();
}

/* SYSCALL and SYSENTER are not among what the SDM calls injecting there. */
static const struct {
        struct row head;
        u32 info;
        u8 length;
        u32 blocked;
} pendings[] = {
        { ROW("external", "external interrupt"), EXTERNAL(0x30), 0, 0 },
        { ROW("nmi", "NMI"), NMI, 0, 0 },
        { ROW("ud", "#UD"), HARDWARE(VEC_UD), 0, 0 },
        { ROW("int-n", "INT 30H"), INT_N(0x30), 2, 0 },
        { ROW("int1", "INT1"), INT1_TRAP, 1, 0 },
        { ROW("int3", "INT3"), SOFTWARE(VEC_BP), 1, 0 },
        { ROW("ud.mov-ss", "#UD, blocking by MOV SS"), HARDWARE(VEC_UD), 0,
          BLOCKED_MOV_SS },
        { ROW("int-n.mov-ss", "INT 30H, blocking by MOV SS"), INT_N(0x30), 2,
          BLOCKED_MOV_SS },
        { ROW("int1.mov-ss", "INT1, blocking by MOV SS"), INT1_TRAP, 1,
          BLOCKED_MOV_SS },
        { ROW("int3.mov-ss", "INT3, blocking by MOV SS"), SOFTWARE(VEC_BP), 1,
          BLOCKED_MOV_SS },
        { ROW("into.mov-ss", "INTO, blocking by MOV SS"), SOFTWARE(VEC_OF), 1,
          BLOCKED_MOV_SS },
};

/* Two instructions, so that one held until after the first would come. */
static const u8 nop_vmcall[] = { 0x90, 0x0f, 0x01, 0xc1 };

TABLE(pending_debug, pendings, .id = "inject.fred.pending-debug",
      .title = "no pending debug exception is left after FRED event delivery",
      .sdm = "VM Entries > Delivery of Pending Debug Exceptions after VM Entry",
      .rules = "POST_PDBG_NONE_WITH_FRED", .needs = N_FRED)
{
        struct fred f;

        for (unsigned inject = 0; inject < 2; inject++) {
                fred_begin(&f);
                memcpy(f.page + FRED_RING0, nop_vmcall, sizeof(nop_vmcall));
                vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS,
                        PENDING_ENABLED | PENDING_B(0));
                if (!inject) {
                        CHECK_EXIT("without injection", vm_enter(f.vm),
                                   EXITS(EXIT_EXCEPTION_NMI));
                        CHECK_EXITING_EVENT(HARDWARE(VEC_DB), 0);
                        continue;
                }
                vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, pendings[row].blocked);
                fred_inject(pendings[row].info, 0, pendings[row].length, 0);
                CHECK_EXIT("with injection", vm_enter(f.vm), EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, (ulong)f.page + FRED_RING0 + 1);
                CHECK_VMCS(GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
        }
        fred_end();
}

FAMILY(enclave, 2, .id = "entry.pending-debug.fred-enclave",
       .title = "#DB after VM entry has the enclave bit of the interruptibility state",
       .sdm = "VM Entries > Delivery of Pending Debug Exceptions after VM Entry",
       .rules = "POST_PDBG_FRED_ENCLAVE_BIT", .needs = N_FRED " sgx")
{
        struct fred f;
        struct fred_want want;

        fred_begin(&f);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0);
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, row ? BLOCKED_ENCLAVE : 0);
        vmwrite(VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS, PENDING_BS);
        vm_control(VMCS_GUEST_RFLAGS, RFLAGS_TF, 0);
        want = fred_expect(&f, HARDWARE(VEC_DB), 0);
        want.frame.data = DR6_BS;
        if (row)
                want.frame.ss |= FRED_SS_ENCLAVE;
        CHECK_FRED("the handler of #DB", &f, vm_enter(f.vm), &want);
        write_dr6(DR6_INIT);
        fred_end();
}

#define ERETS 0xf2
#define ERETU 0xf3

/* ERETS or ERETU; before it, if @clear: BTR bit 18 of the frame's SS. */
static void put_return(u8 *at, u8 prefix, bool clear)
{
        static const u8 btr[] = { 0x48, 0x0f, 0xba, 0x74, 0x24, 0x28, 18 };
        const u8 eret[] = { prefix, 0x0f, 0x01, 0xca };

        if (clear) {
                memcpy(at, btr, sizeof(btr));
                at += sizeof(btr);
        }
        memcpy(at, eret, sizeof(eret));
}

static const struct {
        struct row head;
        u8 prefix;
} returns[] = {
        { ROW("erets", "ERETS"), ERETS },
        { ROW("eretu", "ERETU"), ERETU },
};

TABLE(nmi_return, returns, .id = "inject.fred.nmi-return",
      .title = "the handler's return ends virtual-NMI blocking by bit 18 of SS",
      .sdm = "VMX Non-Root Operation > Event Blocking",
      .rules = "POST_VNMI_ERETS_CLEARS NRT_ERETS_ERETU_VNMI",
      .needs = N_FRED " " N_NMI_WINDOW)
{
        bool user = returns[row].prefix == ERETU;
        struct fred f;

        for (unsigned clear = 0; clear < 2; clear++) {
                vm_end_virtual_nmi_blocking();
                fred_begin(&f);
                if (user)
                        fred_user(&f);
                put_return(f.page + (user ? 0 : FRED_RING0), returns[row].prefix,
                           clear);
                vm_pend_nmi_window();
                fred_inject(NMI, 0, 0, 0);
                if (clear) {
                        CHECK_EXIT("bit 18 = 0", vm_enter(f.vm),
                                   EXITS(EXIT_VMCALL));
                        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
                } else {
                        CHECK_EXIT("bit 18 = 1", vm_enter(f.vm),
                                   EXITS(EXIT_NMI_WINDOW));
                        CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, 0);
                }
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
                CHECK_VMCS_MASKED(GUEST_SS_ACCESS_RIGHTS, user ? 3u << 5 : 0,
                                  3u << 5);
        }
        fred_end();
}

/* A frame made by hand, with NMIs or virtual NMIs blocked by VM entry. */
#define NMI_EXITING CTL_PIN_NMI_EXITING
#define VIRTUAL (CTL_PIN_NMI_EXITING | CTL_PIN_VIRTUAL_NMIS)
#define RETURN(id_, what, rule, needs_, pin_, prefix_, unblocks_)             \
        { ROW(id_, what, rule, needs_), pin_, prefix_, unblocks_ }
#define RETURNS(name, what, rule, needs_, pin, unblocks)                      \
        RETURN("erets." name, "ERETS" what, rule, needs_, pin, ERETS,         \
               unblocks),                                                     \
        RETURN("eretu." name, "ERETU" what, rule, needs_, pin, ERETU, unblocks)

static const struct {
        struct row head;
        u64 pin;
        u8 prefix;
        bool unblocks;
} frames[] = {
        RETURNS("nmi-exiting-0", ", \"NMI exiting\" 0",
                "NRT_ERETS_ERETU_NMI_EXITING0", "", 0, true),
        RETURNS("nmi-exiting-1", ", \"NMI exiting\" 1",
                "NRT_ERETS_ERETU_NMI_EXITING1", "nmi-exiting", NMI_EXITING, false),
        RETURNS("virtual-nmis", ", \"virtual NMIs\" 1",
                "NRT_ERETS_ERETU_VNMI", "nmi-exiting virtual-nmis", VIRTUAL, true),
};

TABLE(nmi_frame, frames, .id = "nonroot.fred.nmi-blocking",
      .title = "bit 18 of SS in the frame and blocking by NMI",
      .sdm = "VMX Non-Root Operation > Changes to Instruction Behavior in VMX "
             "Non-Root Operation", .needs = N_FRED)
{
        bool user = frames[row].prefix == ERETU;
        struct fred f;

        for (unsigned bit = 0; bit < 2; bit++) {
                struct fred_frame *frame;
                u32 blocked = bit && frames[row].unblocks ? 0 : BLOCKED_NMI;

                fred_begin(&f);
                put_return(f.page + FRED_RING0, frames[row].prefix, false);
                frame = (struct fred_frame *)this_vmx()->stack_top - 1;
                *frame = (struct fred_frame){
                        .rip = (ulong)program_vmcall.start,
                        .cs = user ? SEL_USER_CODE : SEL_CODE64,
                        .rflags = RFLAGS_FIXED, .rsp = this_vmx()->stack_top,
                        .ss = (user ? SEL_USER_DATA : SEL_DATA) |
                              (bit ? FRED_SS_NMI : 0),
                };
                vmwrite(VMCS_GUEST_RSP, (ulong)frame);
                vmwrite(VMCS_GUEST_RIP, (ulong)f.page + FRED_RING0);
                vm_control(VMCS_PIN_CONTROLS, frames[row].pin, 0);
                vmwrite(VMCS_GUEST_INTERRUPTIBILITY_STATE, BLOCKED_NMI);
                CHECK_EXIT(bit ? "bit 18 = 1" : "bit 18 = 0", vm_enter(f.vm),
                           EXITS(EXIT_VMCALL));
                CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
                CHECK_VMCS(GUEST_INTERRUPTIBILITY_STATE, blocked);
        }
        fred_end();
}
