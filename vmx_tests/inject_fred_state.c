/*
 * SDM Vol. 3, VM Entries > Details of Vectored-Event Injection, for a guest that
 * uses FRED event delivery: stack levels, the CPL that counts, the registers
 * that control delivery, and exceptions that delivery meets.
 */
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/vmx/fred.h"
#include "x86/vmx/guest_msr.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Details of Vectored-Event Injection"
#define SDM_INJECTION "VM Entries > Vectored-Event Injection"

/* IA32_FRED_STKLVLS with @level for @vector and another one for all others. */
static u64 stack_levels(u8 vector, unsigned level)
{
        u64 all = (level ^ 3) * 0x5555555555555555ull, own = 3;

        if (vector >= 32)
                return all;
        own <<= 2 * vector;
        return (all & ~own) | (u64)level << 2 * vector;
}

static u64 level_now(void)
{
        return rdmsr(MSR_IA32_FRED_CONFIG) & 3;
}

static const struct {
        struct row head;
        u32 info;
        u8 length;
        u8 before;            /* the current level */
        u8 external, by_vector; /* the event's, by IA32_FRED_CONFIG and _STKLVLS */
        u8 after;
        u64 ss;
} levels[] = {
        { ROW("external.0", "external interrupt, level 0"), EXTERNAL(0x30), 0,
          0, 0, 3, 0 },
        { ROW("external.2", "external interrupt, level 0 to 2"), EXTERNAL(0x30), 0,
          0, 2, 3, 2 },
        { ROW("external.same", "external interrupt, level 2 to 2"), EXTERNAL(0x30),
          0, 2, 2, 3, 2 },
        { ROW("external.lower", "external interrupt of level 1 in level 3"),
          EXTERNAL(0x30), 0, 3, 1, 2, 3 },
        { ROW("external.vector-20", "external interrupt of an exception's vector"),
          EXTERNAL(20), 0, 0, 1, 3, 1 },
        { ROW("nmi", "NMI, level 0 to 3"), NMI, 0, 0, 1, 3, 3, FRED_SS_NMI },
        { ROW("nmi.lower", "NMI of level 1 in level 2"), NMI, 0, 2, 3, 1, 2,
          FRED_SS_NMI },
        { ROW("ud", "#UD, level 0 to 1"), HARDWARE(VEC_UD), 0, 0, 3, 1, 1 },
        { ROW("ud.2", "#UD, level 1 to 2"), HARDWARE(VEC_UD), 0, 1, 3, 2, 2 },
        { ROW("ud.same", "#UD, level 1 to 1"), HARDWARE(VEC_UD), 0, 1, 3, 1, 1 },
        { ROW("ud.lower", "#UD of level 0 in level 1"), HARDWARE(VEC_UD), 0, 1, 3,
          0, 1 },
        { ROW("pf", "#PF, level 0 to 2"), HARDWARE_CODE(VEC_PF), 0, 0, 3, 2, 2 },
        { ROW("df", "#DF, level 1 to 3"), HARDWARE_CODE(VEC_DF), 0, 1, 2, 3, 3 },
        { ROW("exception-31", "exception 31, level 0 to 2"), HARDWARE(31), 0, 0, 3,
          2, 2 },
        { ROW("int1", "INT1, level 0 to 1"), INT1_TRAP, 1, 0, 3, 1, 1 },
        { ROW("int3", "INT3, level 0 to 2"), SOFTWARE(VEC_BP), 1, 0, 3, 2, 2 },
        { ROW("into", "INTO, level 0 to 3"), SOFTWARE(VEC_OF), 1, 0, 1, 3, 3 },
        { ROW("int-n", "INT 30H stays in level 0"), INT_N(0x30), 2, 0, 3, 3, 0,
          FRED_SS_SOFTWARE },
        { ROW("int-n.3", "INT n of INT3's vector stays in level 1"), INT_N(3), 2,
          1, 3, 3, 1, FRED_SS_SOFTWARE },
        { ROW("syscall", "SYSCALL stays in level 0"), SYSCALL, 2, 0, 3, 3, 0,
          FRED_SS_SOFTWARE },
        { ROW("syscall.2", "SYSCALL stays in level 2"), SYSCALL, 2, 2, 3, 3, 2,
          FRED_SS_SOFTWARE },
        { ROW("sysenter", "SYSENTER stays in level 1"), SYSENTER, 2, 1, 3, 3, 1,
          FRED_SS_SOFTWARE },
};

TABLE(level, levels, .id = "inject.fred.level",
      .title = "from CPL 0 the stack level only rises, and CS has the one before",
      .sdm = SDM, .rules = "INJ_FRED_CS_STACK_LEVEL INJ_FRED_MSRS_LOADED_FIRST",
      .needs = N_FRED)
{
        u32 info = levels[row].info;
        struct fred f;
        struct fred_want want;

        fred_begin(&f);
        vm_control(VMCS_GUEST_FRED_CONFIG, FRED_LEVEL(levels[row].before) |
                   FRED_RED_ZONE(3) | FRED_EXTERNAL_LEVEL(levels[row].external), 0);
        vmwrite(VMCS_GUEST_FRED_STKLVLS,
                stack_levels((u8)info, levels[row].by_vector));
        vmwrite(VMCS_GUEST_RSP, vmread(VMCS_GUEST_RSP) - 24);
        fred_inject(info, 0, levels[row].length, 0);
        want = fred_expect(&f, info, levels[row].length);
        want.frame.ss |= levels[row].ss;
        if (levels[row].after > levels[row].before)
                want.top = f.stack[levels[row].after];
        CHECK_FRED("VM entry", &f, vm_enter(f.vm), &want);
        CHECK_EQ("stack level of the handler", level_now(), levels[row].after);
        fred_end();
}

/* From CPL 3 only a nested exception has a level of its own. */
static const struct {
        struct row head;
        u32 info;
        u8 level;
} nested[] = {
        { ROW("db", "#DB, level 2"), HARDWARE(VEC_DB), 2 },
        { ROW("ud", "#UD, level 1"), HARDWARE(VEC_UD), 1 },
        { ROW("gp", "#GP, level 2"), HARDWARE_CODE(VEC_GP), 2 },
        { ROW("pf", "#PF, level 3"), HARDWARE_CODE(VEC_PF), 3 },
        { ROW("pf.level-0", "#PF, level 0"), HARDWARE_CODE(VEC_PF), 0 },
};

TABLE(nested_bit, nested, .id = "inject.fred.nested",
      .title = "the nested-exception bit decides on the level, and is in the frame",
      .sdm = SDM, .rules = "INJ_FRED_NESTED_BIT_STACK_LEVEL INJ_FRED_NESTED_BIT_SAVED",
      .needs = N_FRED " nested-exception")
{
        u32 info = nested[row].info;
        struct fred f;
        struct fred_want want;

        /* Row by row: CPL 0 and 3, bit 13 0 and 1. */
        for (unsigned i = 0; i < 4; i++) {
                bool user = i & 2, bit = i & 1;
                unsigned level = user && !bit ? 0 : nested[row].level;

                fred_begin(&f);
                if (user)
                        fred_user(&f);
                vmwrite(VMCS_GUEST_FRED_STKLVLS,
                        stack_levels((u8)info, nested[row].level));
                fred_inject(info | (bit ? NESTED : 0), 0, 0, 0);
                want = fred_expect(&f, info, 0);
                if (level)
                        want.top = f.stack[level];
                if (bit)
                        want.frame.ss |= FRED_SS_NESTED;
                CHECK_FRED(user ? "from CPL 3" : "from CPL 0", &f, vm_enter(f.vm),
                           &want);
                CHECK_EQ("stack level of the handler", level_now(), level);
        }
        fred_end();
}

/*
 * The host has other entry points and stacks: fred_begin(). #UD from CPL 0 goes
 * to level 1, from CPL 3 to level 0.
 */
static void enter_loaded(bool user, bool by_list)
{
        struct fred f;
        struct fred_want want;
        u64 stklvls = stack_levels(VEC_UD, 1);

        fred_begin(&f);
        if (user)
                fred_user(&f);
        vmwrite(VMCS_GUEST_FRED_STKLVLS, stklvls);
        fred_inject(HARDWARE(VEC_UD), 0, 0, 0);
        want = fred_expect(&f, HARDWARE(VEC_UD), 0);
        want.top = f.stack[user ? 0 : 1];
        if (by_list) {
                const struct msr_entry list[] = {
                        { MSR_IA32_FRED_CONFIG, 0, (ulong)f.page },
                        { MSR_IA32_FRED_RSP1, 0, f.stack[1] },
                        { MSR_IA32_FRED_STKLVLS, 0, stklvls },
                };

                vm_control(VMCS_ENTRY_CONTROLS, 0, CTL_ENTRY_LOAD_FRED);
                vm_entry_msrs(list, ARRAY_LEN(list));
        }
        CHECK_FRED(user ? "from CPL 3" : "from CPL 0", &f, vm_enter(f.vm), &want);
}

CASE(loaded, .id = "inject.fred.loaded.fields",
     .title = "delivery is by the FRED registers that VM entry loads",
     .sdm = SDM_INJECTION, .rules = "INJ_FRED_MSRS_LOADED_FIRST", .needs = N_FRED)
{
        enter_loaded(false, false);
        enter_loaded(true, false);
        fred_end();
}

CASE(loaded_by_list, .id = "inject.fred.loaded.msr-area",
     .title = "delivery is by the FRED registers that the MSR-load area gives",
     .sdm = SDM_INJECTION, .rules = "INJ_FRED_MSRS_LOADED_FIRST", .needs = N_FRED)
{
        enter_loaded(false, true);
        enter_loaded(true, true);
        fred_end();
}

#define CONFORMING (AR_G | AR_L | AR_P | AR_S | AR_TYPE(15))

/* CPL 3 by nothing but the DPL in the access rights of SS. */
static const struct {
        struct row head;
        u16 cs;
        u32 cs_rights;
        u16 ss;
        u32 ss_rights;
} privileges[] = {
        { ROW("conforming", "CS conforming, of DPL 0"), SEL_CODE64 | 3,
          CONFORMING, SEL_USER_DATA, 0 },
        { ROW("conforming-unusable", "CS conforming, of DPL 0; SS unusable"),
          SEL_CODE64 | 3, CONFORMING, 3, AR_UNUSABLE | AR_DPL(3) },
        { ROW("unusable", "SS unusable"), SEL_USER_CODE, 0, 3,
          AR_UNUSABLE | AR_DPL(3) },
};

TABLE(privilege, privileges, .id = "inject.fred.cpl",
      .title = "the CPL at delivery is the DPL of SS", .sdm = SDM,
      .rules = "INJ_FRED_CPL_FROM_SS_DPL", .needs = N_FRED)
{
        static const u32 events[] = { EXTERNAL(0x30), HARDWARE(VEC_UD) };
        struct fred f;
        struct fred_want want;

        for (unsigned i = 0; i < ARRAY_LEN(events); i++) {
                fred_begin(&f);
                fred_user(&f);
                vmwrite(VMCS_GUEST_CS_SELECTOR, privileges[row].cs);
                vmwrite(VMCS_GUEST_SS_SELECTOR, privileges[row].ss);
                if (privileges[row].cs_rights)
                        vmwrite(VMCS_GUEST_CS_ACCESS_RIGHTS,
                                privileges[row].cs_rights);
                if (privileges[row].ss_rights)
                        vmwrite(VMCS_GUEST_SS_ACCESS_RIGHTS,
                                privileges[row].ss_rights);
                fred_inject(events[i], 0, 0, 0);
                want = fred_expect(&f, events[i], 0);
                CHECK_FRED("VM entry", &f, vm_enter(f.vm), &want);
        }
        fred_end();
}

static const struct {
        struct row head;
        u32 info;
        u8 length;
} events[] = {
        { ROW("external", "external interrupt"), EXTERNAL(0x30), 0 },
        { ROW("nmi", "NMI"), NMI, 0 },
        { ROW("ud", "#UD"), HARDWARE(VEC_UD), 0 },
        { ROW("int-n", "INT 30H"), INT_N(0x30), 2 },
        { ROW("int1", "INT1"), INT1_TRAP, 1 },
        { ROW("int3", "INT3"), SOFTWARE(VEC_BP), 1 },
        { ROW("syscall", "SYSCALL"), SYSCALL, 2 },
        { ROW("sysenter", "SYSENTER"), SYSENTER, 2 },
};

/*
 * #PF on the stack of level 0, delivered in level 2. Which of the frame's words
 * faulted is open, and so is what the frame of #PF says of the first event.
 */
TABLE(nested_fault, events, .id = "inject.fred.nested-fault",
      .title = "an exception that delivery meets is delivered with the guest's RIP",
      .sdm = SDM, .rules = "INJ_FRED_RIP", .needs = N_FRED)
{
        const u64 first = FRED_SS_STI | FRED_SS_SOFTWARE | FRED_SS_NMI;
        ulong rsp = (ulong)page_alloc(1) + PAGE_SIZE;
        const struct fred_frame *frame;
        struct fred f;
        struct fred_want want;

        fred_begin(&f);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0);
        vmwrite(VMCS_GUEST_RSP, rsp);
        vmwrite(VMCS_GUEST_FRED_STKLVLS, stack_levels(VEC_PF, 2) & ~0x3fffull);
        *vm_pte(f.vm, (u8 *)rsp - 1) = 0;
        fred_inject(events[row].info, 0, events[row].length, 0);
        want = fred_expect(&f, HARDWARE(VEC_PF), 0);
        write_cr2(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(f.vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, (ulong)f.page + FRED_RING0);
        if (CHECK("the frame is on the stack of level 2",
                  vmread(VMCS_GUEST_RSP) == f.stack[2] - sizeof(*frame),
                  "RSP 0x%llx", (unsigned long long)vmread(VMCS_GUEST_RSP))) {
                frame = (const struct fred_frame *)(f.stack[2] - sizeof(*frame));
                CHECK_EQ("error code in the frame", frame->error, PF_W);
                CHECK_EQ("RIP in the frame", frame->rip, want.frame.rip);
                CHECK_EQ("RSP in the frame", frame->rsp, rsp);
                CHECK_EQ("SS in the frame", frame->ss & ~first,
                         want.frame.ss | FRED_SS_NESTED);
                CHECK_EQ("page of the event data", frame->data / PAGE_SIZE,
                         rsp / PAGE_SIZE - 1);
        }
        CHECK_EQ("stack level of the handler", level_now(), 2);
        fred_end();
}
