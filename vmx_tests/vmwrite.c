/*
 * SDM Vol. 3, VMX Instruction Reference > VMWRITE: what it writes, how wide, and
 * how it fails. Where it is undefined or faults: vmread_vmwrite_faults.c.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/snippet.h"

#define SDM "VMX Instruction Reference > VMWRITE"

#define UNSUPPORTED 0x03feu  /* as in vmread.c */
#define PATTERN 0x89abcdef01234567ull

SNIPPET(reg, "vmwrite " RDX ", " RCX);
SNIPPET(mem, "vmwrite (" RAX "), " RCX);

static struct vmx_result write_reg(u64 field, u64 value)
{
        struct snippet_state s = snippet_state();

        s.regs.rcx = (ulong)field;
        s.regs.rdx = (ulong)value;
        return snippet_run(&reg, &s);
}

static struct vmx_result write_mem(u64 field, const void *at)
{
        struct snippet_state s = snippet_state();

        s.regs.rcx = (ulong)field;
        s.regs.rax = (ulong)at;
        return snippet_run(&mem, &s);
}

struct failure {
        struct row head;
        u32 field;
        bool current;
        struct vmx_result outcome;
};

#define ERROR_12 FAIL_VALID(VMERR_UNSUPPORTED_FIELD)
#define ERROR_13 FAIL_VALID(VMERR_READ_ONLY_FIELD)

static const struct failure failures[] = {
        { { "no-current.supported", "no current VMCS: VMfailInvalid",
            "INS_VMWRITE_NO_CURRENT", NULL },
          VMCS_GUEST_RIP, false, FAIL_INVALID },
        { { "no-current.unsupported", "no current VMCS precedes the field check",
            "INS_VMWRITE_NO_CURRENT INS_VMWRITE_ORDER", NULL },
          UNSUPPORTED, false, FAIL_INVALID },
        { { "no-current.read-only", "no current VMCS precedes the read-only check",
            "INS_VMWRITE_NO_CURRENT INS_VMWRITE_ORDER", NULL },
          VMCS_EXIT_REASON, false, FAIL_INVALID },
        { { "unsupported.16-bit", "an encoding that names no field: error 12",
            "INS_VMWRITE_UNSUPPORTED", NULL },
          UNSUPPORTED, true, ERROR_12 },
        { { "unsupported.64-bit", "an encoding that names no field: error 12",
            "INS_VMWRITE_UNSUPPORTED", NULL },
          0x2bfe, true, ERROR_12 },
        { { "unsupported.32-bit", "an encoding that names no field: error 12",
            "INS_VMWRITE_UNSUPPORTED", NULL },
          0x4bfe, true, ERROR_12 },
        { { "unsupported.natural", "an encoding that names no field: error 12",
            "INS_VMWRITE_UNSUPPORTED", NULL },
          0x6ffe, true, ERROR_12 },
        { { "unsupported-read-only.32-bit",
            "error 12, not 13, for a read-only encoding that names no field",
            "INS_VMWRITE_ORDER_12_13 INS_VMWRITE_ORDER", "!vmwrite-any-field" },
          0x45fe, true, ERROR_12 },
        { { "unsupported-read-only.natural",
            "error 12, not 13, for a read-only encoding that names no field",
            "INS_VMWRITE_ORDER_12_13 INS_VMWRITE_ORDER", "!vmwrite-any-field" },
          0x65fe, true, ERROR_12 },
        { { "unsupported-read-only.high",
            "error 12, not 13, for high access to a 32-bit read-only field",
            "INS_VMWRITE_ORDER_12_13 INS_VMWRITE_ORDER", "!vmwrite-any-field" },
          VMCS_VM_INSTRUCTION_ERROR | 1, true, ERROR_12 },
};

TABLE(fails, failures, .id = "vmwrite.fails", .title = "VMWRITE fails", .sdm = SDM)
{
        const struct failure *f = case_row(self, row);
        const u64 *at = page_alloc(1);

        vm_begin(GUEST_NATIVE);
        CHECK_RESULT("to a field with a current VMCS",
                     write_reg(VMCS_GUEST_RIP, 0x1234), SUCCEED);
        CHECK_EQ("the field", vmread(VMCS_GUEST_RIP), 0x1234);
        if (f->current)
                vm_poison(f->outcome.code);
        else
                begin_without_vmcs();
        check_result(__FILE__, __LINE__, "from a register",
                     write_reg(f->field, PATTERN), f->outcome);
        if (f->current)
                vm_poison(f->outcome.code);
        check_result(__FILE__, __LINE__, "from memory", write_mem(f->field, at),
                     f->outcome);
}

static const struct failure faultings[] = {
        { { "supported", "a source that faults, all else right", NULL, NULL },
          VMCS_GUEST_RIP, true, FAULT_CODE(VEC_PF, 0) },
        { { "no-current", "the current VMCS is looked for first",
            "INS_VMWRITE_ORDER", NULL },
          VMCS_GUEST_RIP, false, FAIL_INVALID },
        { { "unsupported", "the source is read before the field is looked for",
            "INS_VMWRITE_ORDER", NULL },
          UNSUPPORTED, true, FAULT_CODE(VEC_PF, 0) },
        { { "read-only", "the source is read before the read-only check",
            "INS_VMWRITE_ORDER", NULL },
          VMCS_EXIT_REASON, true, FAULT_CODE(VEC_PF, 0) },
};

TABLE(fault_order, faultings, .id = "vmwrite.fault-order",
      .title = "a source that faults comes before the field checks", .sdm = SDM,
      .rules = "INS_VMWRITE_FAULT_ORDER")
{
        const struct failure *f = case_row(self, row);
        const u64 *at = page_alloc(1);
        struct vmx_result r;

        vm_begin(GUEST_NATIVE);
        if (f->current)
                vm_poison(0);
        else
                begin_without_vmcs();
        paging_set(at, 0);
        r = write_mem(f->field, at);
        paging_set(at, PTE_P | PTE_W);
        check_result(__FILE__, __LINE__, "from a page that is not present", r,
                     f->outcome);
        if (f->current)
                CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                         VMERR_UNSUPPORTED_FIELD);
}

CASE(fault_keeps, .id = "vmwrite.fault-keeps",
     .title = "a VMWRITE that faults changes no flag, no field and no error",
     .sdm = SDM, .rules = "INS_VMWRITE_FAULT_NO_FLAGS INS_FLAGS_FAULT_KEPT "
                          "INS_ERRFIELD_KEPT_ON_FAULT")
{
        const u64 *at = page_alloc(1);
        struct snippet_state s = snippet_state();
        struct vmx_result r;

        vm_begin(GUEST_NATIVE);
        for (unsigned set = 0; set < 2; set++) {
                s.flags = RFLAGS_FIXED | (set ? VMX_FLAGS : 0);
                s.regs.rcx = VMCS_GUEST_RSP;
                s.regs.rax = (ulong)at;
                vmwrite(VMCS_GUEST_RSP, 0x1234);
                vm_poison(0);
                paging_set(at, 0);
                r = snippet_run(&mem, &s);
                paging_set(at, PTE_P | PTE_W);
                CHECK_RESULT("from a page that is not present", r,
                             FAULT_CODE(VEC_PF, 0));
                CHECK_EQ("CR2", trap_last()->cr2, (ulong)at);
                CHECK_EQ("RIP of the fault", trap_last()->rip, (ulong)mem.start);
                CHECK_EQ("RFLAGS of the fault", trap_last()->rflags & VMX_FLAGS,
                         set ? VMX_FLAGS : 0);
                CHECK_EQ("the field", vmread(VMCS_GUEST_RSP), 0x1234);
                CHECK_EQ("VM-instruction error", vmread(VMCS_VM_INSTRUCTION_ERROR),
                         VMERR_UNSUPPORTED_FIELD);
        }
}

struct source {
        struct row head;
        u32 field;
        u8 readable;    /* bytes of the source before the page that is not there */
};

static const struct source sources[] = {
        { { "16-bit", "a 16-bit field", "INS_VMWRITE_SIZE_64", "host64" },
          VMCS_GUEST_ES_SELECTOR, 2 },
        { { "32-bit", "a 32-bit field", "INS_VMWRITE_SIZE_64", "host64" },
          VMCS_EXCEPTION_BITMAP, 4 },
        { { "16-bit.in-32", "a 16-bit field", "INS_VMWRITE_SIZE_32", "host32" },
          VMCS_GUEST_ES_SELECTOR, 2 },
};

TABLE(source_size, sources, .id = "vmwrite.source-size",
      .title = "the whole source of natural width is read", .sdm = SDM)
{
        const struct source *f = case_row(self, row);
        u8 *pages = page_alloc(2), *second = pages + PAGE_SIZE;
        struct vmx_result r;

        vm_begin(GUEST_NATIVE);
        memset(pages, 0x33, PAGE_SIZE);
        CHECK_RESULT("from a source that ends at the end of a page",
                     write_mem(f->field, second - sizeof(ulong)), SUCCEED);
        paging_set(second, 0);
        r = write_mem(f->field, second - sizeof(ulong));
        CHECK_RESULT("the same before a page that is not present", r, SUCCEED);
        vmwrite(f->field, 0x1234);
        r = write_mem(f->field, second - f->readable);
        paging_set(second, PTE_P | PTE_W);
        CHECK_RESULT("from a source that goes on in a page that is not present", r,
                     FAULT_CODE(VEC_PF, 0));
        CHECK_EQ("CR2", trap_last()->cr2, (ulong)second);
        CHECK_EQ("the field", vmread(f->field), 0x1234);
}

struct width {
        struct row head;
        u32 field;
        u32 written;    /* the encoding written: the field's or its upper half's */
        u64 before;     /* of the field */
        u64 value;      /* the source, as many bits as it has */
        u64 after;      /* of the field */
};

static const struct width widths[] = {
        { { "16-bit", "a 16-bit field takes bits 15:0", "INS_VMWRITE_TRUNC_16", NULL },
          VMCS_GUEST_ES_SELECTOR, VMCS_GUEST_ES_SELECTOR, 0,
          0xffffffffffff1234, 0x1234 },
        { { "16-bit.host", "a 16-bit field takes bits 15:0", "INS_VMWRITE_TRUNC_16",
            NULL },
          VMCS_HOST_TR_SELECTOR, VMCS_HOST_TR_SELECTOR, 0xffff, 0x10000, 0 },
        { { "32-bit", "a 32-bit field takes bits 31:0", "INS_VMWRITE_TRUNC_32",
            "host64" },
          VMCS_EXCEPTION_BITMAP, VMCS_EXCEPTION_BITMAP, 0,
          0xffffffff12345678, 0x12345678 },
        { { "64-bit", "full access to a 64-bit field: 64 bits in 64-bit mode",
            "INS_VMWRITE_FULL_64", "host64" },
          VMCS_TSC_OFFSET, VMCS_TSC_OFFSET, ~PATTERN, PATTERN, PATTERN },
        { { "natural", "full access to a natural-width field: 64 bits",
            "INS_VMWRITE_FULL_64", "host64" },
          VMCS_HOST_RSP, VMCS_HOST_RSP, ~PATTERN, PATTERN, PATTERN },
        { { "64-bit.in-32", "full access writes bits 31:0 and clears bits 63:32",
            "INS_VMWRITE_FULL_IN_32 VMCS_RW_32BIT_HALVES", "host32" },
          VMCS_TSC_OFFSET, VMCS_TSC_OFFSET, ~0ull, 0x12345678, 0x12345678 },
        { { "64-bit.in-32.guest", "full access writes bits 31:0 and clears bits 63:32",
            "INS_VMWRITE_FULL_IN_32 VMCS_RW_32BIT_HALVES", "host32" },
          VMCS_GUEST_DEBUGCTL, VMCS_GUEST_DEBUGCTL, ~0ull, 0, 0 },
        { { "64-bit.high", "high access writes bits 63:32 and keeps bits 31:0",
            "INS_VMWRITE_HIGH VMCS_RW_32BIT_HALVES", NULL },
          VMCS_TSC_OFFSET, VMCS_TSC_OFFSET | 1, 0x0123456789abcdef,
          0xfedcba9876543210, 0x7654321089abcdef },
        { { "64-bit.high.guest", "high access writes bits 63:32 and keeps bits 31:0",
            "INS_VMWRITE_HIGH VMCS_RW_32BIT_HALVES", NULL },
          VMCS_GUEST_DEBUGCTL, VMCS_GUEST_DEBUGCTL | 1, ~0ull,
          0xffffffff00000000, 0xffffffff },
};

TABLE(width, widths, .id = "vmwrite.width",
      .title = "width of what VMWRITE writes", .sdm = SDM)
{
        const struct width *w = case_row(self, row);
        u64 *at = page_alloc(1);

        *at = w->value;
        vm_begin(GUEST_NATIVE);
        vmwrite(w->field, w->before);
        CHECK_RESULT("from a register", write_reg(w->written, w->value), SUCCEED);
        CHECK_EQ("the field", vmread(w->field), w->after);
        vmwrite(w->field, w->before);
        CHECK_RESULT("from memory", write_mem(w->written, at), SUCCEED);
        CHECK_EQ("the field", vmread(w->field), w->after);
        CHECK_EQ("the source", *at, w->value);
}

/* In 16-bit code: address-size prefix, VMWRITE ECX, [EAX]; RETFD. */
static const u8 code16[] = { 0x67, 0x0f, 0x79, 0x08, 0x66, 0xcb };

CASE(size_cs_d_0, .id = "vmwrite.width.cs-d-0",
     .title = "the source has 32 bits with CS.D = 0 too", .sdm = SDM,
     .rules = "INS_VMWRITE_SIZE_32", .needs = "host32")
{
        struct snippet_state s = snippet_state();
        u8 *code = page_alloc(1);
        struct snippet snippet = { code, code + sizeof(code16) };
        u64 *at = page_alloc(1);

        *at = PATTERN;
        vm_begin(GUEST_NATIVE);
        memcpy(code, code16, sizeof(code16));
        this_cpu()->gdt[SEL_SPARE / 8] =
                desc_make(0, 0xfffff, DESC_TYPE(11) | DESC_S | DESC_P | DESC_G);
        s.cs = SEL_SPARE;
        s.regs.rax = (ulong)at;
        s.regs.rcx = VMCS_GUEST_RSP;
        CHECK_RESULT("in a 16-bit code segment", snippet_run(&snippet, &s), SUCCEED);
        CHECK_EQ("the field", vmread(VMCS_GUEST_RSP), (u32)PATTERN);
}
