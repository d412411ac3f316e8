/*
 * SDM Vol. 3, VMX Non-Root Operation > VM Functions > EPTP Switching: which
 * entries of the list it takes, and what it changes.
 */
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/control_check.h"
#include "x86/vmx/event.h"
#include "x86/vmx/views.h"

#define SDM "VMX Non-Root Operation > VM Functions > EPTP Switching"
#define NEEDS "enable-vm-functions eptp-switching"
#define SWITCHED EXITS(EXIT_VMCALL)

/* The switch was made: EPTP, EPTP index, and where the target is. */
static void check_switched(struct views *v, struct vmx_result r, u64 eptp, u64 index)
{
        if (!CHECK_EXIT("VMFUNC", r, SWITCHED))
                return;
        CHECK_VMCS(EPTP, eptp);
        if (vmcs_has(VMCS_EPTP_INDEX))
                CHECK_VMCS(EPTP_INDEX, index);
        CHECK_EQ("the target's first word", (u32)v->vm->regs.rdx,
                 eptp == v->eptp ? VIEWS_OLD : VIEWS_NEW);
}

/* It was refused, by an exit with nothing done. */
static void check_refused(struct views *v, struct vmx_result r)
{
        ulong rdx = v->vm->regs.rdx;

        if (!CHECK_EXIT("VMFUNC", r, EXITS_WITH(EXIT_VMFUNC, 0)))
                return;
        CHECK_VMCS(GUEST_RIP, v->vm->entry_rip);
        CHECK_VMCS(EXIT_INSTRUCTION_LENGTH, 3);
        CHECK_VMCS(EPTP, v->eptp);
        if (vmcs_has(VMCS_EPTP_INDEX))
                CHECK_VMCS(EPTP_INDEX, 0);
        CHECK_EQ("RDX", v->vm->regs.rdx, rdx);
}

/* Entry 0 is valid; switching to it, the accepted side. */
static void check_accepted(void)
{
        struct views v = views_begin(GUEST_NATIVE);

        check_switched(&v, views_switch(&v, 0, 0), v.list[0], 0);
}

struct index {
        struct row head;
        u64 rcx;
        s32 entry;            /* -1: refused */
};

static const struct index indices[] = {
        { ROW("0", "the first entry", "VMF_FN0_ENTRY_ADDRESS", NULL), 0, 0 },
        { ROW("1", "the second entry", "VMF_FN0_ENTRY_ADDRESS", NULL), 1, 1 },
        { ROW("511", "the last entry", "INS_VMFUNC_ECX_RANGE VMF_FN0_ENTRY_ADDRESS", NULL),
          511, 511 },
        { ROW("512", "512, though a valid EPTP is behind the list",
              "INS_VMFUNC_ECX_RANGE INS_VMFUNC_ENTRY_NOT_READ_ECX_BAD "
              "VMF_FN0_ECX_RANGE", NULL), 512, -1 },
        { ROW("80000000", "80000000H", "INS_VMFUNC_ECX_RANGE VMF_FN0_ECX_RANGE", NULL),
          0x80000000, -1 },
        { ROW("ffffffff", "FFFFFFFFH", "INS_VMFUNC_ECX_RANGE VMF_FN0_ECX_RANGE", NULL),
          0xffffffff, -1 },
        { ROW("high", "bits 63:32 of RCX do not count",
              "INS_VMFUNC_ECX_32BIT VMF_FN0_RCX_HIGH_IGNORED", "host64"), BIT(32), 0 },
};

TABLE(ecx, indices, .id = "eptp-switching.ecx", .title = "ECX selects one of 512 entries",
      .sdm = SDM, .needs = NEEDS)
{
        const struct index *x = case_row(self, row);
        struct views v = views_begin(GUEST_NATIVE);
        u64 *list = page_alloc(2), eptp = v.list[0];
        struct vmx_result r;

        /* Only the entry meant is valid; and those behind the list are. */
        for (unsigned i = VIEWS_ENTRIES; i < 2 * VIEWS_ENTRIES; i++)
                list[i] = eptp;
        if (x->entry >= 0)
                list[x->entry] = eptp;
        else
                list[0] = list[511] = eptp;
        vmwrite(VMCS_EPTP_LIST_ADDRESS, phys(list));
        r = views_switch(&v, 0, x->rcx);
        if (x->entry >= 0)
                check_switched(&v, r, eptp, (u64)x->entry);
        else
                check_refused(&v, r);
}

/* An entry that VM entry would take as EPTP, or not. */
static void check_entry(u64 (*edit)(u64 eptp, unsigned arg), unsigned arg, bool valid)
{
        struct views v = views_begin(GUEST_NATIVE);
        struct vmx_result r;

        check_accepted();
        v = views_begin(GUEST_NATIVE);
        v.list[0] = edit(v.list[0], arg);
        r = views_switch(&v, 0, 0);
        if (valid)
                check_switched(&v, r, v.list[0], 0);
        else
                check_refused(&v, r);
}

static u64 with_memory_type(u64 eptp, unsigned type)
{
        return (eptp & ~7ull) | type;
}

FAMILY(memory_type, 8, .id = "eptp-switching.memory-type",
       .title = "an entry's memory type is one that the processor supports", .sdm = SDM,
       .rules = "INS_VMFUNC_BAD_EPTP VMF_FN0_INVALID_EPTP_MEMTYPE", .needs = NEEDS)
{
        u64 caps = vmx_caps()->ept_vpid;

        check_entry(with_memory_type, row, (row == 0 && caps & CAP_EPT_UC) ||
                                           (row == 6 && caps & CAP_EPT_WB));
}

static u64 with_walk(u64 eptp, unsigned walk)
{
        return (eptp & ~BITS(5, 3)) | (u64)walk << 3;
}

/* The guest's own is 3: a walk of 4 levels. */
FAMILY(walk, 8, .id = "eptp-switching.walk",
       .title = "an entry's bits 5:3 are those of the EPTP in use", .sdm = SDM,
       .rules = "INS_VMFUNC_BAD_EPTP VMF_FN0_INVALID_EPTP_PWL", .needs = NEEDS)
{
        check_entry(with_walk, row, row == 3);
}

CASE(walk_change, .id = "eptp-switching.walk-change",
     .title = "a walk of 5 levels is refused where it is supported, too", .sdm = SDM,
     .rules = "INS_VMFUNC_WALK_LENGTH_CHANGE VMF_FN0_PWL5_ENTRY",
     .needs = NEEDS " ept-walk-4 ept-walk-5")
{
        check_entry(with_walk, 4, false);
}

static u64 with_bit(u64 eptp, unsigned bit)
{
        return eptp | BIT(bit);
}

CASE(ad, .id = "eptp-switching.accessed-dirty",
     .title = "bit 6 of an entry needs accessed and dirty flags", .sdm = SDM,
     .rules = "INS_VMFUNC_BAD_EPTP VMF_FN0_INVALID_EPTP_AD_UNSUPPORTED", .needs = NEEDS)
{
        check_entry(with_bit, 6, vmx_caps()->ept_vpid & CAP_EPT_AD);
}

FAMILY(reserved, 5, .id = "eptp-switching.reserved",
       .title = "bits 11:7 of an entry must be 0, bit 7 but with shadow-stack control",
       .sdm = SDM, .rules = "INS_VMFUNC_BAD_EPTP VMF_FN0_INVALID_EPTP_RSVD_11_7",
       .needs = NEEDS)
{
        if (row == 0 && vmx_caps()->ept_vpid & CAP_EPT_SHADOW_STACK) {
                case_skip("bit 7 is not reserved on this processor");
                return;
        }
        check_entry(with_bit, 7 + row, false);
}

#define FIRST_BIT 32

FAMILY(address, 64 - FIRST_BIT, .id = "eptp-switching.address-bit-32-up",
       .title = "bits of an entry from MAXPHYADDR on must be 0", .sdm = SDM,
       .rules = "INS_VMFUNC_BAD_EPTP VMF_FN0_INVALID_EPTP_ADDR_WIDTH", .needs = NEEDS)
{
        unsigned bit = FIRST_BIT + row;

        if (bit < control_address_width()) {
                case_skip("the processor has this bit of an address");
                return;
        }
        check_entry(with_bit, bit, false);
}

CASE(success, .id = "eptp-switching.success",
     .title = "the switch changes EPTP and translation, and neither registers nor flags",
     .sdm = SDM, .rules = "INS_VMFUNC_SUCCESS INS_VMFUNC_FLAGS VMF_FN0_SUCCESS_EPTP_FIELD "
                          "VMF_FN0_SUCCESS_TRANSLATION VMF_FN0_SUCCESS_NO_REG_CHANGE",
     .needs = NEEDS)
{
        const ulong flags = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF |
                            RFLAGS_OF;

        for (unsigned set = 0; set < 2; set++) {
                struct views v = views_begin(GUEST_NATIVE);
                struct guest_regs before = v.vm->regs;
                struct vmx_result r;

                vmwrite(VMCS_GUEST_RFLAGS, RFLAGS_FIXED | (set ? flags : 0));
                r = views_switch(&v, 0, 0);
                check_switched(&v, r, v.list[0], 0);
                CHECK_VMCS_MASKED(GUEST_RFLAGS, set ? flags : 0, flags);
                /* VMFUNC, the load behind it. */
                CHECK_VMCS(GUEST_RIP, v.vm->entry_rip + 3 + 2);
                CHECK_EQ("RAX", v.vm->regs.rax, 0);
                CHECK_EQ("RCX", v.vm->regs.rcx, 0);
                CHECK_EQ("RBX", v.vm->regs.rbx, before.rbx);
                CHECK_EQ("RBP", v.vm->regs.rbp, before.rbp);
                CHECK_EQ("RSI", v.vm->regs.rsi, before.rsi);
                CHECK_EQ("RDI", v.vm->regs.rdi, before.rdi);
        }
}

CASE(same, .id = "eptp-switching.same", .title = "the EPTP in use can be switched to",
     .sdm = SDM, .rules = "INS_VMFUNC_SAME_EPTP VMF_FN0_SAME_EPTP", .needs = NEEDS)
{
        struct views v = views_begin(GUEST_NATIVE);

        v.list[0] = v.eptp;
        check_switched(&v, views_switch(&v, 0, 0), v.eptp, 0);
}

/* With EPT-violation #VE off, as it is in every guest here. */
CASE(index_written, .id = "eptp-switching.index",
     .title = "the switch writes ECX to the EPTP index", .sdm = SDM,
     .rules = "INS_VMFUNC_EPTP_INDEX VMF_FN0_EPTP_INDEX_WRITTEN",
     .needs = NEEDS " ept-violation-ve")
{
        static const u16 values[] = { 5, 0, 511 };
        struct views v = views_begin(GUEST_NATIVE);

        vmwrite(VMCS_EPTP_INDEX, 0xffff);
        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                v.list[values[i]] = v.list[0];
                check_switched(&v, views_switch(&v, 0, values[i]), v.list[0], values[i]);
        }
}

/* Loads the target, switches, and loads it again: EBX and EDX. */
static void load_twice(struct code *code)
{
        CODE_ADD(code, 0x8b, 0x1e);             /* mov (SI), EBX */
        code_insn(code, INSN_VMFUNC);
        CODE_ADD(code, 0x8b, 0x16);             /* mov (SI), EDX */
}

struct flush {
        struct row head;
        bool vpid;
};

static const struct flush flushes[] = {
        { ROW("vpid-off", "without VPIDs: combined mappings of VPID 0000H go",
              "INS_VMFUNC_VPID0_FLUSH VMF_FN0_VPID0_FLUSH", NULL), false },
        { ROW("vpid-on", "with VPIDs: mappings belong to their EPT",
              "VMF_FN0_VPID_PCID_UNCHANGED", "enable-vpid"), true },
};

TABLE(flush, flushes, .id = "eptp-switching.mappings",
      .title = "a translation of the old EPT is not used in the new one", .sdm = SDM,
      .needs = NEEDS)
{
        const struct flush *f = case_row(self, row);
        struct views v = views_begin(GUEST_NATIVE);
        struct code code = { 0 };

        if (f->vpid) {
                vm_control(VMCS_SECONDARY_CONTROLS, CTL_SECONDARY_ENABLE_VPID, 0);
                vmwrite(VMCS_VPID, 1);
        }
        load_twice(&code);
        v.vm->regs.rcx = 0;
        check_switched(&v, raw_guest(v.vm, &code, 0), v.list[0], 0);
        CHECK_EQ("the target before the switch", (u32)v.vm->regs.rbx, VIEWS_OLD);
}

struct cr3 {
        struct row head;
        enum guest_mode mode;
        u64 entry;            /* of the page that CR3 points to, in the new EPT */
        u32 reason;
};

static const struct cr3 cr3s[] = {
        { ROW("violation.long", "4-level paging, an EPT violation", NULL, "host64"),
          GUEST_LONG, 0, EXIT_EPT_VIOLATION },
        { ROW("misconfiguration.long", "4-level paging, an EPT misconfiguration", NULL,
              "host64"), GUEST_LONG, EPT_W, EXIT_EPT_MISCONFIGURATION },
        { ROW("violation.32", "32-bit paging, an EPT violation", NULL, "pse"),
          GUEST_32, 0, EXIT_EPT_VIOLATION },
        { ROW("misconfiguration.32", "32-bit paging, an EPT misconfiguration", NULL, "pse"),
          GUEST_32, EPT_W, EXIT_EPT_MISCONFIGURATION },
};

TABLE(cr3_not_walked, cr3s, .id = "eptp-switching.cr3",
      .title = "CR3 is translated by the next access, not by the switch", .sdm = SDM,
      .rules = "INS_VMFUNC_CR3_NOT_WALKED VMF_FN0_CR3_NOT_TRANSLATED", .needs = NEEDS)
{
        const struct cr3 *c = case_row(self, row);
        struct views v = views_begin(c->mode);
        u64 page = vmread(VMCS_GUEST_CR3) & ~0xfffull;
        struct vmx_result r;

        check_switched(&v, views_switch(&v, 0, 0), v.list[0], 0);
        v = views_begin(c->mode);
        *ept_entry(v.new, page, EPT_PTE) = c->entry;
        ept_invalidate(v.list[0]);
        r = views_switch(&v, 0, 0);
        r.has_info = false;
        CHECK_RESULT("the access after the switch", r, EXITS(c->reason));
        CHECK_VMCS(EPTP, v.list[0]);
        CHECK_VMCS(GUEST_PHYSICAL_ADDRESS, page + (c->mode == GUEST_LONG ? 0 :
                                                   (v.vm->entry_rip >> 22) * 4));
        CHECK_VMCS(GUEST_RIP, v.vm->entry_rip + 3);
}

/* In the new EPT the page that CR3 points to holds no valid PDPTE. */
CASE(pdptes, .id = "eptp-switching.pdptes",
     .title = "with PAE paging the PDPTEs stay as they are", .sdm = SDM,
     .rules = "INS_VMFUNC_PAE_PDPTES VMF_FN0_PAE_PDPTES_KEPT", .needs = NEEDS)
{
        struct views v = views_begin(GUEST_PAE);
        u64 page = vmread(VMCS_GUEST_CR3) & ~0xfffull;

        *ept_entry(v.new, page, EPT_PTE) = phys(page_alloc(1)) | EPT_RWX |
                                           ept_memory_type();
        ept_invalidate(v.list[0]);
        check_switched(&v, views_switch(&v, 0, 0), v.list[0], 0);
        for (unsigned i = 0; i < 4; i++)
                CHECK_EQ("guest PDPTE", vmread(VMCS_GUEST_PDPTE0 + 2 * i),
                         guest_env()->pae_pdpt[i]);
}

/* The list is found by its physical address: no EPT maps it. */
CASE(list_physical, .id = "eptp-switching.list-physical",
     .title = "the EPTP list is read by its physical address, each time", .sdm = SDM,
     .rules = "VMF_FN0_LIST_IS_PHYSICAL VMF_FN0_LIST_LIVE", .needs = NEEDS)
{
        struct views v = views_begin(GUEST_NATIVE);

        *ept_entry(v.old, phys(v.list), EPT_PTE) = 0;
        *ept_entry(v.new, phys(v.list), EPT_PTE) = 0;
        ept_invalidate(v.eptp);
        ept_invalidate(v.list[0]);
        check_switched(&v, views_switch(&v, 0, 0), v.list[0], 0);
        v.list[0] = v.eptp;
        check_switched(&v, views_switch(&v, 0, 0), v.eptp, 0);
}
