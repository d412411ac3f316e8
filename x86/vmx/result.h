/*
 * What a VMX instruction did, as one value: the way it ended and all that is
 * architectural about that end. Checks compare two such values.
 */
#ifndef X86_VMX_RESULT_H
#define X86_VMX_RESULT_H

#include "lib/fmt.h"
#include "lib/types.h"

enum vmx_kind {
        VMX_SUCCEED = 1,   /* VMsucceed: CF, PF, AF, ZF, SF, OF all 0 */
        VMX_FAIL_INVALID,  /* VMfailInvalid: CF = 1, the others 0 */
        VMX_FAIL_VALID,    /* VMfailValid: ZF = 1, the others 0; code = VM-instruction error */
        VMX_ODD_FLAGS,     /* none of the three; code = RFLAGS. Never expected */
        VMX_EXCEPTION,     /* vector, and code = error code if has_code */
        VMX_EXIT,          /* code = exit reason, all 32 bits */
};

/* The code of a VMfailValid where no current VMCS could be read. Never expected. */
#define NO_ERROR_NUMBER (~0u)

struct vmx_result {
        u8 kind;
        u8 vector;
        bool has_code;     /* exception: it has an error code */
        bool has_info;     /* exit: the qualification counts too */
        u32 code;
        u64 info;          /* exit: exit qualification */
};

/*
 * Constant expressions, for tables. SDM Vol. 3, VMX Instruction Reference >
 * Conventions; VM Exits > Basic VM-Exit Information.
 */
#define SUCCEED          { .kind = VMX_SUCCEED }
#define FAIL_INVALID     { .kind = VMX_FAIL_INVALID }
#define FAIL_VALID(n)    { .kind = VMX_FAIL_VALID, .code = (n) }
#define FAULT(v)         { .kind = VMX_EXCEPTION, .vector = (v) }
#define FAULT_CODE(v, c) { .kind = VMX_EXCEPTION, .vector = (v), .has_code = true, .code = (c) }
#define EXITS(reason)    { .kind = VMX_EXIT, .code = (reason) }
#define EXITS_WITH(reason, q) \
        { .kind = VMX_EXIT, .code = (reason), .has_info = true, .info = (q) }
/* A VM-entry failure is a VM exit with bit 31 of the exit reason set. */
#define ENTRY_FAILS(reason, q) EXITS_WITH((reason) | 0x80000000u, q)

#define RESULT(form) ((struct vmx_result)form)

/* Is @got what @want asks for? has_info is taken from @want. */
bool result_matches(struct vmx_result got, struct vmx_result want);

/* The value in words, appended to @t. */
struct text *result_text(struct text *t, struct vmx_result r);

/* CHECK_RESULT(what, got, want): as the checks of lib/check.h. */
#define CHECK_RESULT(what, got, ...) \
        check_result(__FILE__, __LINE__, what, got, (struct vmx_result)__VA_ARGS__)

bool check_result(const char *file, int line, const char *what,
                  struct vmx_result got, struct vmx_result want);

/* Both are legal, where the SDM leaves it open or processors differ. */
bool check_result_either(const char *file, int line, const char *what,
                         struct vmx_result got, struct vmx_result want,
                         struct vmx_result also);

#endif
