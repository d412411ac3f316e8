/* Exceptions for preflight.c: the code that raises each, and what must be seen. */
#ifndef VMX_TESTS_PREFLIGHT_EXCEPTIONS_H
#define VMX_TESTS_PREFLIGHT_EXCEPTIONS_H

#include "preflight_alu.h"
#include "x86/desc.h"

/*
 * Exceptions at CPL 0: the code before, and the one instruction that raises it.
 * The GDT's first spare entry is a data segment that is not present, the IDT
 * ends before vector 60H.
 */
#define RAISES(name, before, instruction)                               \
        CODE(name, before "\n" #name "_at: " instruction "\n ret");    \
        extern const u8 name##_at[]

#ifdef __x86_64__
#define AX "%rax"
#define SP "%rsp"
#else
#define AX "%eax"
#define SP "%esp"
#endif

RAISES(x_divide, "xor %ecx, %ecx", "div %ecx");
RAISES(x_quotient, "mov $-1, %edx; mov $0x80000000, %eax; mov %edx, %ecx",
       "idiv %ecx");
RAISES(x_breakpoint, "int3", "ud2");
RAISES(x_opcode, "", "ud2");
RAISES(x_no_x87, "mov %cr0, " AX "; or $8, %al; mov " AX ", %cr0", "fninit");
RAISES(x_limit, "mov $0xfff9, %eax", "mov %eax, %es");
RAISES(x_ldt, "mov $0x7c, %eax", "mov %eax, %es");
RAISES(x_absent, "mov $0x58, %eax", "mov %eax, %es");
RAISES(x_stack, "mov $0x58, %eax", "mov %eax, %ss");
#ifdef __x86_64__
RAISES(x_address, "mov $0x800000000000, %rax", "mov (%rax), %al");
#else
RAISES(x_null, "xor %eax, %eax", "mov %eax, %ss");
RAISES(x_gate, "", "int $0x70");
RAISES(x_overflow, "mov $0x7f, %al; inc %al; into", "ud2");
RAISES(x_bound, "push $5; push $3; mov $6, %eax", "bound %eax, (%esp)");
#endif
RAISES(x_step, "pushf; orl $0x100, (" SP "); popf; nop", "ud2");

static const struct exception {
        struct row head;
        const u8 *code, *at;
        u8 vector;
        bool has_error;
        u32 error;
} exceptions[] = {
#define ROW(name, title, code, ...) \
        { { name, title, NULL, NULL }, code, code##_at, __VA_ARGS__ }
        ROW("de", "#DE: division by 0", x_divide, VEC_DE, false, 0),
        ROW("de-quotient", "#DE: quotient too large", x_quotient, VEC_DE,
            false, 0),
        ROW("bp", "#BP: the RIP saved is behind INT3", x_breakpoint, VEC_BP,
            false, 0),
        ROW("ud", "#UD", x_opcode, VEC_UD, false, 0),
        ROW("db-step", "#DB: single step, one instruction later", x_step,
            VEC_DB, false, 0),
        ROW("gp-limit", "#GP with a selector beyond the GDT", x_limit, VEC_GP,
            true, 0xfff8),
        ROW("gp-ldt", "#GP with a selector of no LDT", x_ldt, VEC_GP, true,
            0x7c),
        ROW("np", "#NP with a selector", x_absent, VEC_NP, true, SEL_SPARE),
        ROW("ss", "#SS with a selector", x_stack, VEC_SS, true, SEL_SPARE),
#ifdef __x86_64__
        ROW("gp-address", "#GP(0): a non-canonical address", x_address,
            VEC_GP, true, 0),
#else
        ROW("gp-null", "#GP(0): a null selector in SS", x_null, VEC_GP, true,
            0),
        ROW("gp-gate", "#GP with a vector beyond the IDT", x_gate, VEC_GP,
            true, 0x70 * 8 + ERR_IDT),
        ROW("of", "#OF: the RIP saved is behind INTO", x_overflow, VEC_OF,
            false, 0),
        ROW("br", "#BR", x_bound, VEC_BR, false, 0),
#endif
        { { "nm", "#NM: CR0.TS", NULL, "x87" }, x_no_x87, x_no_x87_at,
          VEC_NM, false, 0 },
#undef ROW
};

#endif
