/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits
 * Conditionally: MOV DR, whose exit comes before the faults that come before
 * other exits. The exit qualification: VM Exits > Exit Qualification for MOV DR.
 */
#include "x86/cpu.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits > " \
            "Instructions That Cause VM Exits Conditionally"

/* The bits of the qualification that are not defined. */
#define UNDEFINED (BIT(3) | BITS(7, 5) | BITS(63, 12))
#define FROM BIT(4)
#define RCX  BIT(8)

#define CODES(n)                               \
        ONE(to_dr##n, "mov %" CX ", %dr" #n);  \
        ONE(from_dr##n, "mov %dr" #n ", %" CX)
CODES(0);
CODES(1);
CODES(2);
CODES(3);
CODES(6);
CODES(7);
/* MOV from DR4 and DR5 to (E/R)CX. */
ONE(from_dr4, ".byte 0x0f, 0x21, 0xe1");
ONE(from_dr5, ".byte 0x0f, 0x21, 0xe9");
ONE_IN(from_dr7_16, 16, "mov %dr7, %ecx");
#ifdef __x86_64__
ONE(from_dr7_r15, "mov %dr7, %r15");
#endif

/* What the registers hold anyway: nothing is left behind. */
static void no_address(struct vm *vm)
{
        vm->regs.rcx = 0;
}

static void no_condition(struct vm *vm)
{
        vm->regs.rcx = 0xffff0ff0;
}

static void no_breakpoint(struct vm *vm)
{
        vm->regs.rcx = DR7_INIT;
}

#define EXITING                                                          \
        .runs = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_MOV_DR_EXITING)), \
        .exits = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_MOV_DR_EXITING))
#define OUTCOME(q) \
        .outcome = EXITS_WITH(EXIT_MOV_DR, q), .ignore = UNDEFINED
#define DR(n, prep)                                                      \
        { ROW("to-dr" #n), RUN(to_dr##n), .prepare = prep, EXITING,      \
          OUTCOME((n) | RCX) },                                          \
        { ROW("from-dr" #n), RUN(from_dr##n), EXITING,                   \
          OUTCOME((n) | FROM | RCX) }

static const struct exit_probe registers[] = {
        DR(0, no_address), DR(1, no_address), DR(2, no_address),
        DR(3, no_address), DR(6, no_condition), DR(7, no_breakpoint),
#ifdef __x86_64__
        { ROW("r15", "the register's number: R15", NULL, "host64"),
          RUN(from_dr7_r15), EXITING, OUTCOME(7 | FROM | 15 << 8) },
#endif
};

EXIT_PROBES(mov_dr, registers, .id = "exit.mov-dr", .title = "MOV DR exiting",
            .sdm = SDM, .rules = "EXI_MOV_DR", .needs = "mov-dr-exiting")

#define USER SET(GUEST_CS_SELECTOR, SEL_USER_CODE), \
             SET(GUEST_SS_SELECTOR, SEL_USER_DATA), \
             OR(GUEST_CS_ACCESS_RIGHTS, 0x60), OR(GUEST_SS_ACCESS_RIGHTS, 0x60)

#ifdef __x86_64__
static void upper_bit(struct vm *vm)
{
        vm->regs.rcx = BIT(32) | DR7_INIT;
}
#endif

static const struct exit_probe faults[] = {
        { ROW("cpl3", "at CPL 3", "EXI_PRI_MOVDR_OVER_CPL"), RUN(from_dr7),
          .given = EDITS(USER), EXITING, OUTCOME(7 | FROM | RCX),
          .faults = VEC_GP },
        { ROW("v86", "in virtual-8086 mode", "EXI_PRI_MOVDR_OVER_V86_GP"),
          .mode = GUEST_V86, RUN(from_dr7_16), EXITING,
          OUTCOME(7 | FROM | RCX), .faults = VEC_GP },
        { ROW("dr4", "DR4 with CR4.DE = 1", "EXI_PRI_MOVDR_OVER_DE_UD",
              "debugging-extensions"), RUN(from_dr4),
          .given = EDITS(OR(GUEST_CR4, CR4_DE)), EXITING,
          OUTCOME(4 | FROM | RCX), .faults = VEC_UD },
        { ROW("dr5", "DR5 with CR4.DE = 1", "EXI_PRI_MOVDR_OVER_DE_UD",
              "debugging-extensions"), RUN(from_dr5),
          .given = EDITS(OR(GUEST_CR4, CR4_DE)), EXITING,
          OUTCOME(5 | FROM | RCX), .faults = VEC_UD },
#ifdef __x86_64__
        { ROW("upper", "bit 32 to DR7", "EXI_PRI_MOVDR_OVER_GP_UPPER",
              "host64"), RUN(to_dr7), .prepare = upper_bit, EXITING,
          OUTCOME(7 | RCX), .faults = VEC_GP },
#endif
};

EXIT_PROBES(before, faults, .id = "exit.mov-dr.before-fault",
            .title = "MOV DR exits where it would fault", .sdm = SDM,
            .needs = "mov-dr-exiting")
