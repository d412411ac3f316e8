/*
 * SDM Vol. 3, Introduction to Virtual Machine Extensions > Restrictions on VMX
 * Operation: the fixed bits of CR0 and CR4, at VMXON, in VMX root operation, and
 * in guests.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/pointer.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/session.h"

#define SDM "Introduction to Virtual Machine Extensions > Restrictions on VMX Operation"

/*
 * The bits that may change while the kernel runs on: not PE, PG and PAE, and not
 * CR4.LASS, because the kernel stands in the lower half of the address space.
 */
struct bit_row {
        struct row head;
        u8 cr, bit;
};

#define CR0_BIT(ID, BIT) { .head = { .id = "cr0." ID, .title = "CR0." ID }, \
                           .cr = 0, .bit = BIT }
#define CR4_BIT(ID, BIT) { .head = { .id = "cr4." ID, .title = "CR4." ID }, \
                           .cr = 4, .bit = BIT }

static const struct bit_row bit_rows[] = {
        CR0_BIT("mp", 1), CR0_BIT("em", 2), CR0_BIT("ts", 3), CR0_BIT("ne", 5),
        CR0_BIT("wp", 16), CR0_BIT("am", 18), CR0_BIT("nw", 29),
        CR0_BIT("cd", 30),
        CR4_BIT("vme", 0), CR4_BIT("pvi", 1), CR4_BIT("tsd", 2),
        CR4_BIT("de", 3), CR4_BIT("pse", 4), CR4_BIT("mce", 6),
        CR4_BIT("pge", 7), CR4_BIT("pce", 8), CR4_BIT("osfxsr", 9),
        CR4_BIT("osxmmexcpt", 10), CR4_BIT("umip", 11), CR4_BIT("la57", 12),
        CR4_BIT("smxe", 14), CR4_BIT("fsgsbase", 16), CR4_BIT("pcide", 17),
        CR4_BIT("osxsave", 18), CR4_BIT("kl", 19), CR4_BIT("smep", 20),
        CR4_BIT("smap", 21), CR4_BIT("pke", 22), CR4_BIT("cet", 23),
        CR4_BIT("pks", 24), CR4_BIT("uintr", 25), CR4_BIT("lam-sup", 28),
};

static ulong read_cr(unsigned cr)
{
        return cr ? read_cr4() : read_cr0();
}

static struct vmx_result write_cr(unsigned cr, ulong value)
{
        return raw_trap(cr ? write_cr4_safe(value) : write_cr0_safe(value));
}

/* Is @value allowed in VMX operation? */
static bool supported(unsigned cr, u64 value)
{
        const struct vmx_caps *c = vmx_caps();
        u64 fixed0 = cr ? c->cr4_fixed0 : c->cr0_fixed0;
        u64 fixed1 = cr ? c->cr4_fixed1 : c->cr0_fixed1;

        return !(fixed0 & ~value) && !(value & ~fixed1);
}

/*
 * Outside VMX operation, the bit inverted: *value is the register then, *base
 * before. False if there is no such bit here.
 */
static bool invert(const struct bit_row *r, ulong *base, ulong *value)
{
        vmx_off();
        vmx_prepare();
        *base = read_cr(r->cr);
        *value = *base ^ (ulong)BIT(r->bit);
        /* CR0.NW may be 1 only together with CD. */
        if (r->cr == 0 && BIT(r->bit) == CR0_NW)
                *value |= CR0_CD;
        if (write_cr(r->cr, *value).kind == VMX_SUCCEED &&
            read_cr(r->cr) == *value)
                return true;
        CHECK_RESULT("the register as it was", write_cr(r->cr, *base), SUCCEED);
        case_skip("the bit can not be changed outside VMX operation");
        return false;
}

TABLE(vmxon_bits, bit_rows, .id = "operation.restrictions.vmxon", .sdm = SDM,
      .title = "VMXON with this bit inverted does what the fixed bits say",
      .rules = "CR_VMXON_FLEXIBLE_BITS CR_VMXON_CR4_FIXED1 CR_VMXON_CR4_FIXED0 "
               "CR_VMXON_CR0_FIXED1 CAP_CR4_FIXED1_FEATURES "
               "CAP_CR0_FIXED1_SUPPORTED")
{
        const struct bit_row *r = case_row(self, row);
        u64 pointer = phys(vmcs_region_new());
        struct vmx_result got;
        ulong base, value;

        if (!invert(r, &base, &value))
                return;
        got = pointer_insn(INSN_VMXON, pointer);
        if (supported(r->cr, value)) {
                CHECK_RESULT("VMXON, the bit is flexible", got, SUCCEED);
                CHECK_EQ("the register", read_cr(r->cr), value);
        } else {
                CHECK_RESULT("VMXON, the bit is fixed", got,
                             FAULT_CODE(VEC_GP, 0));
                CHECK_RESULT("VMXOFF", vmxoff(), FAULT(VEC_UD));
        }
        vmx_off();
        CHECK_RESULT("the register as it was", write_cr(r->cr, base), SUCCEED);
        CHECK_RESULT("VMXON", pointer_insn(INSN_VMXON, pointer), SUCCEED);
        vmx_off();
}

TABLE(root_bits, bit_rows, .id = "operation.restrictions.root", .sdm = SDM,
      .title = "MOV to the register in VMX root operation does what the bits say",
      .rules = "CR_ROOT_MOV_CR0_FLEX CR_ROOT_MOV_CR4_FLEX CR_ROOT_MOV_CR0_FIXED1 "
               "CR_ROOT_MOV_CR4_FIXED1")
{
        const struct bit_row *r = case_row(self, row);
        ulong base, value;

        if (!invert(r, &base, &value))
                return;
        CHECK_RESULT("the register as it was", write_cr(r->cr, base), SUCCEED);
        vmx_on();
        if (supported(r->cr, value)) {
                CHECK_RESULT("MOV, the bit is flexible", write_cr(r->cr, value),
                             SUCCEED);
                CHECK_EQ("the register", read_cr(r->cr), value);
        } else {
                CHECK_RESULT("MOV, the bit is fixed", write_cr(r->cr, value),
                             FAULT_CODE(VEC_GP, 0));
                CHECK_EQ("the register", read_cr(r->cr), base);
        }
        CHECK_RESULT("MOV of the first value", write_cr(r->cr, base), SUCCEED);
        CHECK_EQ("the register", read_cr(r->cr), base);
}

/* A MOV that VMX root operation refuses, and none outside it. */
struct refused_row {
        struct row head;
        u8 cr;
        u32 clear;
        bool outside;     /* works outside VMX operation, and is tried there */
};

static const struct refused_row refused_rows[] = {
        { ROW("cr0.ne", "CR0.NE = 0", "CR_ROOT_MOV_CR0_NE "
              "CR_VMXOFF_FIXED_RELEASED CAP_CR0_FIXED0_PE_NE_PG"),
          0, CR0_NE, true },
        { ROW("cr0.pg", "CR0.PG = 0", "CR_ROOT_MOV_CR0_PG", "host32"),
          0, CR0_PG, true },
        { ROW("cr0.pe", "CR0.PE = 0 and CR0.PG = 0", "CR_ROOT_MOV_CR0_PE"),
          0, CR0_PE | CR0_PG, false },
        { ROW("cr4.vmxe", "CR4.VMXE = 0", "CR_ROOT_MOV_CR4_VMXE "
              "CR_VMXOFF_CLEAR_VMXE"), 4, CR4_VMXE, true },
};

TABLE(refused, refused_rows, .id = "operation.restrictions.root.clear",
      .sdm = SDM, .title = "can not be written in VMX root operation")
{
        const struct refused_row *r = case_row(self, row);
        ulong base, value;

        vm_begin(GUEST_NATIVE);
        base = read_cr(r->cr);
        value = base & ~(ulong)r->clear;
        if (supported(r->cr, value)) {
                case_skip("not fixed on this processor");
                return;
        }
        CHECK_RESULT("MOV of the value that it has", write_cr(r->cr, base),
                     SUCCEED);
        CHECK_RESULT("MOV", write_cr(r->cr, value), FAULT_CODE(VEC_GP, 0));
        CHECK_EQ("the register", read_cr(r->cr), base);
        CHECK_EQ("current-VMCS pointer", current_vmcs(), this_vmx()->vm.pointer);
        vmx_off();
        if (!r->outside)
                return;
        CHECK_RESULT("MOV after VMXOFF", write_cr(r->cr, value), SUCCEED);
        CHECK_EQ("the register", read_cr(r->cr), value);
        CHECK_RESULT("MOV of the first value", write_cr(r->cr, base), SUCCEED);
}

struct vmxon_row {
        struct row head;
        u32 clear;        /* in CR0 */
};

static const struct vmxon_row vmxon_rows[] = {
        { ROW("cr0.ne", "CR0.NE = 0", "CR_VMXON_CR0_NE_CLEAR"), CR0_NE },
        { ROW("cr0.pg", "CR0.PG = 0", "CR_VMXON_CR0_PG_CLEAR", "host32"), CR0_PG },
};

TABLE(vmxon_clear, vmxon_rows, .id = "operation.restrictions.vmxon.clear",
      .sdm = SDM, .title = "VMXON faults with a bit 0 that is fixed to 1")
{
        const struct vmxon_row *r = case_row(self, row);
        u64 pointer = phys(vmcs_region_new());
        struct vmx_result got;
        ulong base;

        vmx_off();
        vmx_prepare();
        base = read_cr0();
        if (supported(0, base & ~(ulong)r->clear)) {
                case_skip("not fixed on this processor");
                return;
        }
        write_cr0(base & ~(ulong)r->clear);
        got = vmxon(&pointer);
        write_cr0(base);
        CHECK_RESULT("VMXON", got, FAULT_CODE(VEC_GP, 0));
        CHECK_RESULT("VMXOFF", vmxoff(), FAULT(VEC_UD));
        CHECK_RESULT("VMXON with the bit 1", pointer_insn(INSN_VMXON, pointer),
                     SUCCEED);
        vmx_off();
}
