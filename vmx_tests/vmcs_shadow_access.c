/*
 * SDM Vol. 3, VMX Instruction Reference > VMREAD and VMWRITE in VMX non-root
 * operation: what they do to the shadow VMCS, and how they fail. When they
 * exit: vmcs_shadow.c.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/vmx/ept.h"
#include "x86/vmx/event.h"
#include "x86/vmx/raw.h"
#include "x86/vmx/shadow.h"

#define SDM_READ "VMX Instruction Reference > VMREAD"
#define SDM_WRITE "VMX Instruction Reference > VMWRITE"

#define UNSUPPORTED 0x03feu
#define FILL ((ulong)0xa5a5a5a5a5a5a5a5ull)
#define PATTERN 0x89abcdef01234567ull

struct value {
        struct row head;
        enum guest_mode mode;
        u32 encoding;     /* that the guest uses */
        u32 field;
        u64 before;       /* of the field in the shadow VMCS */
        u64 read;         /* what VMREAD then gives */
        u64 written;      /* what the guest writes */
        u64 after;        /* of the field */
};

static const struct value values[] = {
        { ROW("16-bit", "a 16-bit field", NULL, NULL), GUEST_NATIVE,
          VMCS_GUEST_FS_SELECTOR, VMCS_GUEST_FS_SELECTOR, 0xfedc, 0xfedc,
          0x12345678, 0x5678 },
        { ROW("32-bit", "a 32-bit field", NULL, NULL), GUEST_NATIVE,
          VMCS_EXCEPTION_BITMAP, VMCS_EXCEPTION_BITMAP, 0xfedcba98, 0xfedcba98,
          0x12345678, 0x12345678 },
        { ROW("64-bit", "a 64-bit field in 64-bit mode", NULL, "host64"), GUEST_LONG,
          VMCS_TSC_OFFSET, VMCS_TSC_OFFSET, PATTERN, PATTERN, ~PATTERN, ~PATTERN },
        { ROW("64-bit.high", "a 64-bit field, high access", NULL, NULL), GUEST_NATIVE,
          VMCS_TSC_OFFSET | 1, VMCS_TSC_OFFSET, PATTERN, PATTERN >> 32,
          0x76543210, 0x7654321001234567 },
        { ROW("natural", "a natural-width field in 64-bit mode", NULL, "host64"),
          GUEST_LONG, VMCS_GUEST_RIP, VMCS_GUEST_RIP, PATTERN, PATTERN,
          ~PATTERN, ~PATTERN },
        { ROW("natural.host", "a natural-width field", NULL, NULL), GUEST_NATIVE,
          VMCS_HOST_RSP, VMCS_HOST_RSP, 0x12345678, 0x12345678, 0x87654321, 0x87654321 },
        { ROW("64-bit.in-32", "a 64-bit field outside IA-32e mode", NULL, NULL),
          GUEST_PAE, VMCS_TSC_OFFSET, VMCS_TSC_OFFSET, PATTERN, (u32)PATTERN,
          0x12345678, 0x12345678 },
        { ROW("natural.in-32", "a natural-width field outside IA-32e mode",
              "VMCS_ENC_WIDTH_NATURAL", "host64"),
          GUEST_PAE, VMCS_GUEST_RIP, VMCS_GUEST_RIP, PATTERN, (u32)PATTERN,
          0x12345678, 0x12345678 },
};

/* The other VMCS, which controls the guest, has another value all the time. */
static u64 other_value(const struct value *v)
{
        return v->encoding == VMCS_EXCEPTION_BITMAP ? 0 : vmread(v->field);
}

TABLE(read_value, values, .id = "shadow.vmread.value",
      .title = "VMREAD reads the shadow VMCS", .sdm = SDM_READ,
      .rules = "INS_VMREAD_SHADOW_VALUE", .needs = "vmcs-shadowing")
{
        const struct value *v = case_row(self, row);
        struct shadow s = shadow_begin(v->mode);
        ulong *at = page_alloc(1);

        shadow_write(&s, v->field, v->before);
        at[0] = at[1] = FILL;
        CHECK_RESULT("VMREAD to a register", shadow_run(&s, SHADOW_VMREAD, v->encoding),
                     SUCCEED);
        CHECK_EQ("register", s.vm->regs.rdx, v->read);
        s.vm->regs.rax = (ulong)at;
        CHECK_RESULT("VMREAD to memory",
                     shadow_run(&s, SHADOW_VMREAD | SHADOW_MEMORY, v->encoding), SUCCEED);
        if (v->mode == GUEST_PAE) {
                CHECK_EQ("memory", (u32)at[0], v->read);
                CHECK_EQ("behind 32 bits", *((u32 *)at + 1), (u32)FILL);
        } else {
                CHECK_EQ("memory", at[0], v->read);
                CHECK_EQ("behind it", at[1], FILL);
        }
        CHECK_EQ("the field", shadow_read(&s, v->field), v->before);
}

TABLE(write_value, values, .id = "shadow.vmwrite.value",
      .title = "VMWRITE writes the shadow VMCS, and no other", .sdm = SDM_WRITE,
      .rules = "INS_VMWRITE_SHADOW_VALUE", .needs = "vmcs-shadowing")
{
        const struct value *v = case_row(self, row);
        struct shadow s = shadow_begin(v->mode);
        u64 *at = page_alloc(1), other;

        for (unsigned memory = 0; memory <= SHADOW_MEMORY; memory += SHADOW_MEMORY) {
                shadow_write(&s, v->field, v->before);
                other = other_value(v);
                *at = v->written;
                s.vm->regs.rax = (ulong)at;
                s.vm->regs.rdx = (ulong)v->written;
                CHECK_RESULT("VMWRITE", shadow_run(&s, SHADOW_VMWRITE | memory, v->encoding),
                             SUCCEED);
                /* Host RSP and guest RIP are what the entry and the exit make them. */
                if (v->field != VMCS_HOST_RSP && v->field != VMCS_GUEST_RIP)
                        CHECK_EQ("the same field of the guest's VMCS", vmread(v->field),
                                 other);
                CHECK_EQ("the field", shadow_read(&s, v->field), v->after);
        }
}

struct failure {
        struct row head;
        u8 access;                 /* enum shadow_access */
        enum guest_mode mode;
        u8 cpl;
        bool no_link, fault;       /* the memory operand faults */
        u32 field;
        struct vmx_result outcome;
};

#define READ .access = SHADOW_VMREAD
#define WRITE .access = SHADOW_VMWRITE
#define ERROR_12 FAIL_VALID(VMERR_UNSUPPORTED_FIELD)
#define UD FAULT(VEC_UD)

static const struct failure failures[] = {
        { ROW("vmread.link", "no VMCS link pointer: VMfailInvalid",
              "INS_VMREAD_SHADOW_LINK_INVALID INS_VMREAD_SHADOW_FLAGS", NULL),
          READ, .no_link = true, .field = VMCS_GUEST_RIP, .outcome = FAIL_INVALID },
        { ROW("vmread.link.unsupported", "it precedes the field check",
              "INS_VMREAD_SHADOW_LINK_INVALID", NULL),
          READ, .no_link = true, .field = UNSUPPORTED, .outcome = FAIL_INVALID },
        { ROW("vmwrite.link", "no VMCS link pointer: VMfailInvalid",
              "INS_VMWRITE_SHADOW_LINK_INVALID INS_VMWRITE_SHADOW_FLAGS", NULL),
          WRITE, .no_link = true, .field = VMCS_GUEST_RIP, .outcome = FAIL_INVALID },
        { ROW("vmwrite.link.unsupported", "it precedes the field check",
              "INS_VMWRITE_SHADOW_LINK_INVALID", NULL),
          WRITE, .no_link = true, .field = UNSUPPORTED, .outcome = FAIL_INVALID },
        { ROW("vmread.unsupported.16-bit", "an encoding that names no field: error 12",
              "INS_VMREAD_SHADOW_UNSUPPORTED INS_VMREAD_SHADOW_FLAGS", NULL),
          READ, .field = UNSUPPORTED, .outcome = ERROR_12 },
        { ROW("vmread.unsupported.natural", "an encoding that names no field: error 12",
              "INS_VMREAD_SHADOW_UNSUPPORTED", NULL),
          READ, .field = 0x6ffe, .outcome = ERROR_12 },
        { ROW("vmwrite.unsupported.16-bit", "an encoding that names no field: error 12",
              "INS_VMWRITE_SHADOW_UNSUPPORTED INS_VMWRITE_SHADOW_FLAGS", NULL),
          WRITE, .field = UNSUPPORTED, .outcome = ERROR_12 },
        { ROW("vmwrite.unsupported.natural", "an encoding that names no field: error 12",
              "INS_VMWRITE_SHADOW_UNSUPPORTED", NULL),
          WRITE, .field = 0x6ffe, .outcome = ERROR_12 },
        { ROW("vmwrite.read-only", "a VM-exit information field: error 13",
              "INS_VMWRITE_SHADOW_READONLY", "!vmwrite-any-field"),
          WRITE, .field = VMCS_EXIT_REASON,
          .outcome = FAIL_VALID(VMERR_READ_ONLY_FIELD) },
        { ROW("vmread.cpl1", "#GP(0) at CPL 1", "INS_VMREAD_SHADOW_CPL", NULL),
          READ, .cpl = 1, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_GP, 0) },
        { ROW("vmread.cpl2", "#GP(0) at CPL 2", "INS_VMREAD_SHADOW_CPL", NULL),
          READ, .cpl = 2, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_GP, 0) },
        { ROW("vmread.cpl3", "#GP(0) at CPL 3", "INS_VMREAD_SHADOW_CPL", NULL),
          READ, .cpl = 3, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_GP, 0) },
        { ROW("vmwrite.cpl1", "#GP(0) at CPL 1", "INS_VMWRITE_SHADOW_CPL", NULL),
          WRITE, .cpl = 1, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_GP, 0) },
        { ROW("vmwrite.cpl2", "#GP(0) at CPL 2", "INS_VMWRITE_SHADOW_CPL", NULL),
          WRITE, .cpl = 2, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_GP, 0) },
        { ROW("vmwrite.cpl3", "#GP(0) at CPL 3", "INS_VMWRITE_SHADOW_CPL", NULL),
          WRITE, .cpl = 3, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_GP, 0) },
        { ROW("vmread.cpl3.link", "it precedes VMfailInvalid",
              "INS_VMREAD_SHADOW_CPL", NULL),
          READ, .cpl = 3, .no_link = true, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_GP, 0) },
        { ROW("vmwrite.cpl3.link", "it precedes VMfailInvalid",
              "INS_VMWRITE_SHADOW_CPL", NULL),
          WRITE, .cpl = 3, .no_link = true, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_GP, 0) },
        { ROW("vmread.real", "#UD in real-address mode",
              "INS_VMREAD_SHADOW_UD_MODES", "unrestricted-guest"),
          READ, .mode = GUEST_REAL, .field = VMCS_GUEST_RIP, .outcome = UD },
        { ROW("vmread.v86", "#UD in virtual-8086 mode",
              "INS_VMREAD_SHADOW_UD_MODES", NULL),
          READ, .mode = GUEST_V86, .field = VMCS_GUEST_RIP, .outcome = UD },
        { ROW("vmread.compat", "#UD in compatibility mode",
              "INS_VMREAD_SHADOW_UD_MODES", "host64"),
          READ, .mode = GUEST_COMPAT, .field = VMCS_GUEST_RIP, .outcome = UD },
        { ROW("vmwrite.real", "#UD in real-address mode",
              "INS_VMWRITE_SHADOW_UD_MODES", "unrestricted-guest"),
          WRITE, .mode = GUEST_REAL, .field = VMCS_GUEST_RIP, .outcome = UD },
        { ROW("vmwrite.v86", "#UD in virtual-8086 mode",
              "INS_VMWRITE_SHADOW_UD_MODES", NULL),
          WRITE, .mode = GUEST_V86, .field = VMCS_GUEST_RIP, .outcome = UD },
        { ROW("vmwrite.compat", "#UD in compatibility mode",
              "INS_VMWRITE_SHADOW_UD_MODES", "host64"),
          WRITE, .mode = GUEST_COMPAT, .field = VMCS_GUEST_RIP, .outcome = UD },
        { ROW("vmread.page-fault", "a destination that faults",
              "INS_VMREAD_SHADOW_MEM_FAULT", NULL),
          READ, .fault = true, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_PF, PF_W) },
        { ROW("vmread.page-fault.unsupported", "the field is looked for before",
              "INS_VMREAD_SHADOW_MEM_FAULT", NULL),
          READ, .fault = true, .field = UNSUPPORTED, .outcome = ERROR_12 },
        { ROW("vmread.page-fault.link", "the link pointer is looked at before",
              "INS_VMREAD_SHADOW_MEM_FAULT", NULL),
          READ, .fault = true, .no_link = true, .field = VMCS_GUEST_RIP,
          .outcome = FAIL_INVALID },
        { ROW("vmwrite.page-fault", "a source that faults",
              "INS_VMWRITE_SHADOW_MEM_FAULT", NULL),
          WRITE, .fault = true, .field = VMCS_GUEST_RIP,
          .outcome = FAULT_CODE(VEC_PF, 0) },
        { ROW("vmwrite.page-fault.unsupported", "the field is looked for after",
              "INS_VMWRITE_SHADOW_MEM_FAULT", NULL),
          WRITE, .fault = true, .field = UNSUPPORTED, .outcome = FAULT_CODE(VEC_PF, 0) },
        { ROW("vmwrite.page-fault.link", "the link pointer is looked at before",
              "INS_VMWRITE_SHADOW_MEM_FAULT", NULL),
          WRITE, .fault = true, .no_link = true, .field = VMCS_GUEST_RIP,
          .outcome = FAIL_INVALID },
};

TABLE(fails, failures, .id = "shadow.fails",
      .title = "a guest's VMREAD or VMWRITE fails or faults", .sdm = SDM_READ,
      .needs = "vmcs-shadowing")
{
        const struct failure *f = case_row(self, row);
        unsigned access = f->access | (f->fault ? SHADOW_MEMORY : 0);
        struct shadow s = shadow_begin(GUEST_NATIVE);
        ulong *at = page_alloc(1);

        s.vm->regs.rax = (ulong)at;
        CHECK_RESULT("where nothing is in the way", shadow_run(&s, access, VMCS_GUEST_RIP),
                     SUCCEED);

        s = shadow_begin(f->mode);
        shadow_write(&s, VMCS_GUEST_RIP, PATTERN & BITS(8 * sizeof(ulong) - 1, 0));
        s.vm->regs.rdx = FILL;
        s.vm->regs.rax = (ulong)at;
        if (f->cpl)
                raw_guest_cpl(s.vm, f->cpl);
        if (f->no_link)
                vmwrite(VMCS_VMCS_LINK_POINTER, ~0ull);
        if (f->fault) {
                vm_paging_hole(s.vm);
                s.vm->regs.rax = GUEST_HOLE;
        }
        check_result(__FILE__, (int)self->line, "VMREAD or VMWRITE",
                     shadow_run(&s, access, f->field), f->outcome);
        CHECK_EQ("RDX", s.vm->regs.rdx, FILL);
        CHECK_EQ("the field of the shadow VMCS", shadow_read(&s, VMCS_GUEST_RIP),
                 PATTERN & BITS(8 * sizeof(ulong) - 1, 0));
}

CASE(read_only_written, .id = "shadow.vmwrite.read-only-writable",
     .title = "VMWRITE writes a VM-exit information field where the host's can",
     .sdm = SDM_WRITE, .rules = "INS_VMWRITE_SHADOW_READONLY",
     .needs = "vmcs-shadowing vmwrite-any-field")
{
        struct shadow s = shadow_begin(GUEST_NATIVE);

        shadow_write(&s, VMCS_EXIT_REASON, 1);
        s.vm->regs.rdx = 0x12345678;
        CHECK_RESULT("VMWRITE", shadow_run(&s, SHADOW_VMWRITE, VMCS_EXIT_REASON), SUCCEED);
        CHECK_EQ("the field of the shadow VMCS", shadow_read(&s, VMCS_EXIT_REASON),
                 0x12345678);
}

PROGRAM(in_80, NATIVE_BITS, "in $0x80, %al\n");

/* All controls of the shadow VMCS are 1 then, which makes IN exit where it counts. */
CASE(no_effect, .id = "shadow.vmwrite.controls",
     .title = "controls in the shadow VMCS do not control the guest", .sdm = SDM_WRITE,
     .rules = "INS_SHADOW_NO_CONTROL_EFFECT",
     .needs = "vmcs-shadowing unconditional-io-exiting")
{
        struct shadow s = shadow_begin(GUEST_NATIVE);

        s.vm->regs.rdx = 0xffffffff;
        CHECK_RESULT("VMWRITE of primary controls",
                     shadow_run(&s, SHADOW_VMWRITE, VMCS_PRIMARY_CONTROLS), SUCCEED);
        vm_program(s.vm, in_80);
        CHECK_EXIT("IN", vm_enter(s.vm), EXITS(EXIT_VMCALL));
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_UNCONDITIONAL_IO_EXITING, 0);
        vm_program(s.vm, in_80);
        CHECK_EXIT("IN, with the control in the guest's own VMCS", vm_enter(s.vm),
                   EXITS(EXIT_IO_INSTRUCTION));
}

struct ept_operand {
        struct row head;
        u8 access;
        u64 qualification;     /* of bits 2:0, the access */
        u64 mask;
};

/* Whether a write is one that reads as well, and sets bit 0 too, is open. */
static const struct ept_operand ept_operands[] = {
        { ROW("vmread", "a write by VMREAD", NULL, NULL), SHADOW_VMREAD, 2, 6 },
        { ROW("vmwrite", "a read by VMWRITE", NULL, NULL), SHADOW_VMWRITE, 1, 7 },
};

TABLE(ept_operand, ept_operands, .id = "shadow.ept",
      .title = "the memory operand is translated by EPT", .sdm = SDM_READ,
      .rules = "INS_MEM_EPT_IN_GUEST_SHADOW", .needs = "vmcs-shadowing enable-ept")
{
        const struct ept_operand *o = case_row(self, row);
        struct shadow s = shadow_begin(GUEST_NATIVE);
        ulong *at = page_alloc(1);
        u64 *root = ept_new();

        ept_map_identity(root);
        vmcs_edit(EDITS(WITH_SECONDARY(CTL_SECONDARY_ENABLE_EPT)));
        vmwrite(VMCS_EPTP, eptp_of(root, 0));
        shadow_write(&s, VMCS_GUEST_RSP, 0x1234);
        s.vm->regs.rax = (ulong)at;
        *at = 0x1234;
        CHECK_RESULT("with the page mapped",
                     shadow_run(&s, o->access | SHADOW_MEMORY, VMCS_GUEST_RSP), SUCCEED);
        *at = 0x5678;
        *ept_entry(root, phys(at), EPT_PTE) = 0;
        ept_invalidate(eptp_of(root, 0));
        CHECK_EXIT("with the page not mapped",
                   shadow_run(&s, o->access | SHADOW_MEMORY, VMCS_GUEST_RSP),
                   EXITS(EXIT_EPT_VIOLATION));
        CHECK_VMCS_MASKED(EXIT_QUALIFICATION, o->qualification, o->mask);
        CHECK_VMCS(GUEST_PHYSICAL_ADDRESS, phys(at));
        CHECK_VMCS(GUEST_RIP, s.vm->entry_rip);
        CHECK_EQ("the destination or source", *at, 0x5678);
        CHECK_EQ("the field of the shadow VMCS", shadow_read(&s, VMCS_GUEST_RSP), 0x1234);
}
