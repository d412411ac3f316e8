/*
 * SDM Vol. 3, VMX Instruction Reference > VMREAD: what it reads, how wide, where
 * to, and how it fails. Where it is undefined or faults: vmread_vmwrite_faults.c.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/snippet.h"

#define SDM "VMX Instruction Reference > VMREAD"

/* Index 511 of the 16-bit control fields: no edition comes near it. */
#define UNSUPPORTED 0x03feu
#define FILL 0xa5
#define FILL_WORD ((ulong)0xa5a5a5a5a5a5a5a5ull)
#define PATTERN 0x89abcdef01234567ull

SNIPPET(reg, "vmread " RCX ", " RDX);
SNIPPET(mem, "vmread " RCX ", (" RAX ")");

/* VMREAD of @field to RDX, which holds FILL before: *@value is what it holds then. */
static struct vmx_result read_reg(u64 field, u64 *value)
{
        struct snippet_state s = snippet_state();
        struct vmx_result r;

        s.regs.rcx = (ulong)field;
        s.regs.rdx = FILL_WORD;
        r = snippet_run(&reg, &s);
        *value = s.regs.rdx;
        return r;
}

/* VMREAD of @field to @at. */
static struct vmx_result read_mem(u64 field, const void *at)
{
        struct snippet_state s = snippet_state();

        s.regs.rcx = (ulong)field;
        s.regs.rax = (ulong)at;
        return snippet_run(&mem, &s);
}

static const u8 *filled_page(void)
{
        return memset(page_alloc(1), FILL, PAGE_SIZE);
}

static void check_filled(const char *what, const u8 *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                if (!CHECK_EQ(what, bytes[i], FILL))
                        return;
}

struct failure {
        struct row head;
        u32 field;
        bool current;
        struct vmx_result outcome;
};

static const struct failure failures[] = {
        { { "no-current.supported", "no current VMCS: VMfailInvalid",
            "INS_VMREAD_NO_CURRENT INS_VMREAD_ORDER", NULL },
          VMCS_GUEST_RIP, false, FAIL_INVALID },
        { { "no-current.unsupported", "no current VMCS precedes the field check",
            "INS_VMREAD_NO_CURRENT INS_VMREAD_ORDER", NULL },
          UNSUPPORTED, false, FAIL_INVALID },
        { { "unsupported.16-bit", "an encoding that names no field: error 12",
            "INS_VMREAD_UNSUPPORTED", NULL },
          UNSUPPORTED, true, FAIL_VALID(VMERR_UNSUPPORTED_FIELD) },
        { { "unsupported.64-bit", "an encoding that names no field: error 12",
            "INS_VMREAD_UNSUPPORTED", NULL },
          0x2bfe, true, FAIL_VALID(VMERR_UNSUPPORTED_FIELD) },
        { { "unsupported.32-bit", "an encoding that names no field: error 12",
            "INS_VMREAD_UNSUPPORTED", NULL },
          0x47fe, true, FAIL_VALID(VMERR_UNSUPPORTED_FIELD) },
        { { "unsupported.natural", "an encoding that names no field: error 12",
            "INS_VMREAD_UNSUPPORTED", NULL },
          0x6ffe, true, FAIL_VALID(VMERR_UNSUPPORTED_FIELD) },
};

/* A VMREAD that fails writes neither register nor memory. */
TABLE(fails, failures, .id = "vmread.fails", .title = "VMREAD fails", .sdm = SDM,
      .rules = "INS_VMREAD_DEST_KEPT_ON_FAIL")
{
        const struct failure *f = case_row(self, row);
        const u8 *page = filled_page();
        u64 value;

        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("of a field with a current VMCS",
                     read_reg(VMCS_GUEST_RIP, &value), SUCCEED);
        CHECK_EQ("destination", value, vmread(VMCS_GUEST_RIP));
        if (f->current)
                vm_poison(VMERR_UNSUPPORTED_FIELD);
        else
                begin_without_vmcs();
        check_result(__FILE__, __LINE__, "to a register",
                     read_reg(f->field, &value), f->outcome);
        CHECK_EQ("register", value, FILL_WORD);
        if (f->current)
                vm_poison(VMERR_UNSUPPORTED_FIELD);
        check_result(__FILE__, __LINE__, "to memory", read_mem(f->field, page),
                     f->outcome);
        check_filled("memory", page, 16);
}

static const struct failure faultings[] = {
        { { "supported", "a destination that faults, all else right", NULL, NULL },
          VMCS_GUEST_RIP, true, FAULT_CODE(VEC_PF, PF_W) },
        { { "no-current", "the current VMCS is looked for first", NULL, NULL },
          VMCS_GUEST_RIP, false, FAIL_INVALID },
        { { "unsupported", "the field is looked for first", "INS_VMREAD_ORDER", NULL },
          UNSUPPORTED, true, FAIL_VALID(VMERR_UNSUPPORTED_FIELD) },
};

TABLE(fault_order, faultings, .id = "vmread.fault-order",
      .title = "a destination that faults comes last", .sdm = SDM,
      .rules = "INS_VMREAD_FAULT_AFTER_CHECKS")
{
        const struct failure *f = case_row(self, row);
        const u8 *page = filled_page();
        struct vmx_result r;

        vm_begin(GUEST_NATIVE);
        if (f->current)
                vm_poison(f->outcome.kind == VMX_FAIL_VALID ? f->outcome.code : 0);
        else
                begin_without_vmcs();
        paging_set(page, 0);
        r = read_mem(f->field, page);
        paging_set(page, PTE_P | PTE_W);
        check_result(__FILE__, __LINE__, "to a page that is not present", r,
                     f->outcome);
        check_filled("memory", page, 16);
}

CASE(fault_keeps, .id = "vmread.fault-keeps",
     .title = "a VMREAD that faults changes no flag and no VM-instruction error",
     .sdm = SDM, .rules = "INS_VMREAD_FAULT_NO_FLAGS INS_FLAGS_FAULT_KEPT "
                          "INS_ERRFIELD_KEPT_ON_FAULT")
{
        const u8 *page = filled_page();
        struct snippet_state s = snippet_state();
        struct vmx_result r;

        vm_begin(GUEST_NATIVE);
        for (unsigned set = 0; set < 2; set++) {
                s.flags = RFLAGS_FIXED | (set ? VMX_FLAGS : 0);
                s.regs.rcx = VMCS_GUEST_RIP;
                s.regs.rax = (ulong)page;
                vm_poison(0);
                paging_set(page, 0);
                r = snippet_run(&mem, &s);
                paging_set(page, PTE_P | PTE_W);
                CHECK_RESULT("to a page that is not present", r,
                             FAULT_CODE(VEC_PF, PF_W));
                CHECK_EQ("CR2", trap_last()->cr2, (ulong)page);
                CHECK_EQ("RIP of the fault", trap_last()->rip, (ulong)mem.start);
                CHECK_EQ("RFLAGS of the fault", trap_last()->rflags & VMX_FLAGS,
                         set ? VMX_FLAGS : 0);
                CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                         VMERR_UNSUPPORTED_FIELD);
                check_filled("memory", page, 16);
        }
}

struct width {
        struct row head;
        u32 field;
        u32 read;       /* the encoding read, of the field or its upper half */
        u64 value;      /* of the field, by VMWRITE */
        u64 want;
};

#ifdef __x86_64__
#define SIZE_RULE "INS_VMREAD_SIZE_64"
#else
#define SIZE_RULE "INS_VMREAD_SIZE_32"
#endif

static const struct width widths[] = {
        { { "16-bit", "a 16-bit field is zero-extended",
            "INS_VMREAD_ZEROEXT_16", NULL },
          VMCS_GUEST_ES_SELECTOR, VMCS_GUEST_ES_SELECTOR, 0xfedc, 0xfedc },
        { { "16-bit.host", "a 16-bit field is zero-extended",
            "INS_VMREAD_ZEROEXT_16", NULL },
          VMCS_HOST_TR_SELECTOR, VMCS_HOST_TR_SELECTOR, 0xffff, 0xffff },
        { { "32-bit", "a 32-bit field is zero-extended in 64-bit mode",
            "INS_VMREAD_ZEROEXT_32", "host64" },
          VMCS_EXCEPTION_BITMAP, VMCS_EXCEPTION_BITMAP, 0xffffffff,
          0xffffffff },
        { { "64-bit", "full access to a 64-bit field: 64 bits in 64-bit mode",
            "INS_VMREAD_FULL_64", "host64" },
          VMCS_TSC_OFFSET, VMCS_TSC_OFFSET, PATTERN, PATTERN },
        { { "natural", "full access to a natural-width field: 64 bits",
            "INS_VMREAD_FULL_64", "host64" },
          VMCS_HOST_RIP, VMCS_HOST_RIP, PATTERN, PATTERN },
        { { "64-bit.in-32", "full access to a 64-bit field: bits 31:0",
            "INS_VMREAD_FULL_IN_32", "host32" },
          VMCS_TSC_OFFSET, VMCS_TSC_OFFSET, PATTERN, (u32)PATTERN },
        { { "natural.in-32", "full access to a natural-width field: bits 31:0",
            NULL, "host32" },
          VMCS_GUEST_RSP, VMCS_GUEST_RSP, (u32)PATTERN, (u32)PATTERN },
        { { "64-bit.high", "high access: bits 63:32 of the field in bits 31:0",
            "INS_VMREAD_HIGH", NULL },
          VMCS_TSC_OFFSET, VMCS_TSC_OFFSET | 1, PATTERN, PATTERN >> 32 },
        { { "64-bit.high.guest", "high access: bits 63:32 of the field in bits 31:0",
            "INS_VMREAD_HIGH", NULL },
          VMCS_GUEST_DEBUGCTL, VMCS_GUEST_DEBUGCTL | 1, ~PATTERN,
          (u32)(~PATTERN >> 32) },
};

/* The memory destination has 8 bytes in 64-bit mode and 4 otherwise. */
TABLE(width, widths, .id = "vmread.width",
      .title = "width of what VMREAD returns", .sdm = SDM,
      .rules = SIZE_RULE)
{
        const struct width *w = case_row(self, row);
        const u8 *page = filled_page();
        u64 value;
        ulong stored;

        vm_begin(GUEST_NATIVE);
        vmwrite(w->field, w->value);
        CHECK_RESULT("to a register", read_reg(w->read, &value), SUCCEED);
        CHECK_EQ("register", value, w->want);
        CHECK_RESULT("to memory", read_mem(w->read, page + 16), SUCCEED);
        memcpy(&stored, page + 16, sizeof(stored));
        CHECK_EQ("memory", stored, w->want);
        check_filled("memory before the destination", page, 16);
        check_filled("memory behind the destination", page + 16 + sizeof(ulong), 16);
        CHECK_EQ("the field afterwards", vmread(w->field), w->value);
}

/* In 16-bit code: address-size prefix, VMREAD [EAX], ECX; VMREAD EDX, ECX; RETFD. */
static const u8 code16[] = { 0x67, 0x0f, 0x78, 0x08, 0x0f, 0x78, 0xca, 0x66, 0xcb };

CASE(size_cs_d_0, .id = "vmread.width.cs-d-0",
     .title = "operands have 32 bits with CS.D = 0 too", .sdm = SDM,
     .rules = "INS_VMREAD_SIZE_32", .needs = "host32")
{
        const u8 *page = filled_page();
        struct snippet_state s = snippet_state();
        u8 *code = page_alloc(1);
        struct snippet snippet = { code, code + sizeof(code16) };
        u32 stored;

        vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_GUEST_RSP, (u32)PATTERN);
        memcpy(code, code16, sizeof(code16));
        this_cpu()->gdt[SEL_SPARE / 8] =
                desc_make(0, 0xfffff, DESC_TYPE(11) | DESC_S | DESC_P | DESC_G);
        s.cs = SEL_SPARE;
        s.regs.rax = (ulong)page;
        s.regs.rcx = VMCS_GUEST_RSP;
        CHECK_RESULT("in a 16-bit code segment", snippet_run(&snippet, &s), SUCCEED);
        CHECK_EQ("register", s.regs.rdx, (u32)PATTERN);
        memcpy(&stored, page, sizeof(stored));
        CHECK_EQ("memory", stored, (u32)PATTERN);
        check_filled("memory behind the destination", page + 4, 16);
}

#ifdef __x86_64__
#define REGISTERS 16
#else
#define REGISTERS 8
#endif
#define NUMBER_RSP 4

/* The register of a number, as ModR/M has it. */
static ulong *numbered(struct guest_regs *r, unsigned number)
{
        ulong *low[] = { &r->rax, &r->rcx, &r->rdx, &r->rbx, NULL, &r->rbp,
                         &r->rsi, &r->rdi };

#ifdef __x86_64__
        if (number >= 8)
                return &r->r8 + (number - 8);
#endif
        return low[number];
}

/* What a stack pointer holds names no field. */
SNIPPET(from_rsp, "vmread " RSP ", " RDX);

/* The family's number is that of the register with the encoding. */
FAMILY(registers, REGISTERS, .id = "vmread.register",
       .title = "each register can name the field, and each receive it, the same too",
       .sdm = SDM, .rules = "INS_VMREAD_REG_RSP_ETC")
{
        u8 *code = page_alloc(1);

        vm_begin(GUEST_NATIVE);
        vmwrite(VMCS_HOST_SYSENTER_CS, (u32)PATTERN);
        for (unsigned to = 0; to < REGISTERS; to++) {
                struct snippet_state s = snippet_state(), before;
                unsigned size = 0;

                if (row == NUMBER_RSP || to == NUMBER_RSP)
                        continue;
                if (REGISTERS > 8)
                        code[size++] = (u8)(0x40 | row >> 3 << 2 | to >> 3);
                code[size++] = 0x0f;
                code[size++] = 0x78;
                code[size++] = (u8)(0xc0 | (row & 7) << 3 | (to & 7));
                memcpy(code + size, reg.end, 1);  /* the return */
                *numbered(&s.regs, row) = VMCS_HOST_SYSENTER_CS;
                before = s;
                CHECK_RESULT("VMREAD", snippet_run(&(struct snippet){ code, code + size }, &s),
                             SUCCEED);
                CHECK_EQ("destination", *numbered(&s.regs, to), (u32)PATTERN);
                *numbered(&s.regs, to) = *numbered(&before.regs, to);
                CHECK("the other registers are unchanged",
                      !memcmp(&s.regs, &before.regs, sizeof(s.regs)),
                      "from register %u to %u one changed", row, to);
        }
        if (row == NUMBER_RSP) {
                struct snippet_state s = snippet_state();

                vm_poison(VMERR_UNSUPPORTED_FIELD);
                CHECK_RESULT("VMREAD of the stack pointer's value",
                             snippet_run(&from_rsp, &s),
                             FAIL_VALID(VMERR_UNSUPPORTED_FIELD));
        }
}
