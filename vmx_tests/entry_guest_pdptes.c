/*
 * SDM Vol. 3, VM Entries > Checks on the Guest State Area > Checks on Guest
 * Page-Directory-Pointer-Table Entries, and VM Entries > Loading Guest State >
 * Loading Page-Directory-Pointer-Table Entries.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > Checks on Guest Page-Directory-Pointer-Table Entries"
#define SDM_LOAD "VM Entries > Loading Page-Directory-Pointer-Table Entries"
#define BAD_PDPTE ENTRY_FAILS(EXIT_ENTRY_FAILURE_GUEST_STATE, 2)

#define GIB 0x40000000u
#define FIELD(n) (VMCS_GUEST_PDPTE0 + 2 * (u32)(n))

/* A table of the case's own: what the guest's CR3 points at. */
static u64 *table;

static void own_table(struct vm *vm)
{
        (void)vm;
        vmwrite(VMCS_GUEST_CR3, phys(table));
}

static u64 *new_table(void)
{
        table = page_alloc(1);
        memcpy(table, guest_env()->pae_pdpt, 4 * sizeof(*table));
        return table;
}

/* Entry @n is @value, in the VMCS or, without EPT, in memory. */
static void check_value(const struct test_case *self, bool ept, unsigned n,
                        u64 value, bool legal)
{
        u64 baseline = guest_env()->pae_pdpt[n];
        const struct edit *edits = ept ? EDITS(EDIT(SET, FIELD(n), value))
                                       : NULL;
        struct probe p = {
                .mode = GUEST_PAE, .given = EDITS(SHOW_EXCEPTIONS),
                .prepare = ept ? with_ept : own_table,
        };
        struct vmx_result r;

        if (ept) {
                probe_legal(self, &p, edits, legal, RESULT(BAD_PDPTE));
                return;
        }
        new_table();
        probe_check(self, &p);
        table[n] = value;
        r = probe_enter(&p, NULL, 0);
        check_result(self->file, (int)self->line, "VM entry", r,
                     legal ? RESULT(EXITS(EXIT_VMCALL)) : RESULT(BAD_PDPTE));
        table[n] = baseline;
}

/* Bits 2:1 and 8:5 are reserved; PWT, PCD and 11:9 are not. */
static const u8 bits[] = { 1, 2, 5, 6, 7, 8, 3, 4, 9, 10, 11 };
#define ILLEGAL_BITS 6

#define ENTRY(n, how, ept, rule, needs_)                                     \
FAMILY(bits_##how##_##n, ARRAY_LEN(bits),                                    \
       .id = "entry.guest.pdpte." #how ".pdpte" #n ".bit",                   \
       .title = "bits 1, 2, 5 to 8 must be 0; 3, 4, 9, 10 and 11 are free "  \
                "(in this order)", .sdm = SDM,                               \
       .rules = rule " ENTG_PDPTE_IGNORED_BITS ENTG_FAIL_QUAL_2",            \
       .needs = needs_)                                                      \
{                                                                            \
        check_value(self, ept, n, guest_env()->pae_pdpt[n] | BIT(bits[row]), \
                    row >= ILLEGAL_BITS);                                    \
}                                                                            \
CASE(high_##how##_##n, .id = "entry.guest.pdpte." #how ".pdpte" #n ".high",  \
     .title = "each bit from the physical-address width on must be 0",       \
     .sdm = SDM, .rules = rule, .needs = needs_)                             \
{                                                                            \
        for (unsigned bit = guest_address_width(); bit < 64; bit++)          \
                check_value(self, ept, n,                                    \
                            guest_env()->pae_pdpt[n] | BIT(bit), false);     \
}
#define ENTRIES(how, ept, rule, needs_)                                      \
        ENTRY(0, how, ept, rule, needs_) ENTRY(1, how, ept, rule, needs_)    \
        ENTRY(2, how, ept, rule, needs_) ENTRY(3, how, ept, rule, needs_)
ENTRIES(vmcs, true, "ENTG_PDPTE_EPT_FIELDS_CHECKED", "enable-ept")
ENTRIES(memory, false, "ENTG_PDPTE_CR3_MEMORY_CHECKED", "")

/* CR3[31:5] is the address: what stands at CR3[31:12] would be refused. */
static u64 table_offset;

static void table_at_offset(struct vm *vm)
{
        (void)vm;
        vmwrite(VMCS_GUEST_CR3, phys(table) + table_offset);
}

FAMILY(offset, 7, .id = "entry.guest.pdpte.memory.offset",
       .title = "the table may be at any multiple of 32 (a bit of CR3, from 5 on)",
       .sdm = SDM, .rules = "ENTG_PDPTE_CR3_MEMORY_CHECKED ENTG_FAIL_QUAL_2")
{
        struct probe p = {
                .mode = GUEST_PAE, .given = EDITS(SHOW_EXCEPTIONS),
                .prepare = table_at_offset,
        };
        u64 *entries;

        table = page_alloc(1);
        memset(table, 0xff, PAGE_SIZE);
        table_offset = BIT(5 + row);
        entries = table + table_offset / sizeof(*table);
        memcpy(entries, guest_env()->pae_pdpt, 4 * sizeof(*entries));
        probe_check(self, &p);
        entries[3] |= BIT(1);
        CHECK_RESULT("VM entry, a reserved bit in the last entry",
                     probe_enter(&p, NULL, 0), BAD_PDPTE);
}

/* Without the first entry the guest's code is not mapped. */
static void not_present(const struct test_case *self, bool ept, unsigned n)
{
        const struct edit *edits = ept ? EDITS(EDIT(SET, FIELD(n), ~1ull))
                                       : NULL;
        struct probe p = {
                .mode = GUEST_PAE, .given = EDITS(SHOW_EXCEPTIONS),
                .prepare = ept ? with_ept : own_table, .accept = edits,
        };

        if (!ept)
                new_table()[n] = ~1ull;
        if (!n)
                p.accepted = RESULT(EXITS(EXIT_EXCEPTION_NMI));
        probe_check(self, &p);
}

FAMILY(not_present_vmcs, 4, .id = "entry.guest.pdpte.vmcs.not-present",
       .title = "an entry with P = 0 is not checked", .sdm = SDM,
       .rules = "ENTG_PDPTE_NOT_PRESENT_IGNORED", .needs = "enable-ept")
{
        not_present(self, true, row);
}

FAMILY(not_present_memory, 4, .id = "entry.guest.pdpte.memory.not-present",
       .title = "an entry with P = 0 is not checked", .sdm = SDM,
       .rules = "ENTG_PDPTE_NOT_PRESENT_IGNORED")
{
        not_present(self, false, row);
}

#define ALL_FIELDS(value)                                                    \
        SET(GUEST_PDPTE0, value), SET(GUEST_PDPTE1, value),                  \
        SET(GUEST_PDPTE2, value), SET(GUEST_PDPTE3, value)
/* Every bit, and those that PDPTEs reserve beside P. */
#define BAD_FIELDS ALL_FIELDS(0x1e7)

static const struct probe unused_rows[] = {
        { ROW("fields.long", "PDPTE fields of a 64-bit guest",
              "ENTG_PDPTE_UNCHECKED_NON_PAE", "host64 enable-ept"),
          .mode = GUEST_LONG, .prepare = with_ept, .accept = EDITS(BAD_FIELDS) },
        { ROW("fields.compat", "PDPTE fields of a compatibility-mode guest",
              "ENTG_PDPTE_UNCHECKED_NON_PAE", "host64 enable-ept"),
          .mode = GUEST_COMPAT, .prepare = with_ept,
          .accept = EDITS(BAD_FIELDS) },
        { ROW("fields.32", "PDPTE fields of a guest with 32-bit paging",
              "ENTG_PDPTE_UNCHECKED_NON_PAE", "enable-ept"),
          .mode = GUEST_32, .prepare = with_ept, .accept = EDITS(BAD_FIELDS) },
        { ROW("fields.unpaged", "PDPTE fields of a guest without paging",
              "ENTG_PDPTE_UNCHECKED_NON_PAE", "unrestricted-guest"),
          .mode = GUEST_PROTECTED, .accept = EDITS(BAD_FIELDS) },
        { ROW("fields.real", "PDPTE fields of a real-mode guest",
              "ENTG_PDPTE_UNCHECKED_NON_PAE", "unrestricted-guest"),
          .mode = GUEST_REAL, .accept = EDITS(BAD_FIELDS) },
        /* What CR3 points at there has R/W and U/S set. */
        { ROW("memory.long", "the PML4 table is no table of PDPTEs",
              "ENTG_PDPTE_UNCHECKED_NON_PAE", "host64"), .mode = GUEST_LONG },
        { ROW("memory.32", "the page directory is no table of PDPTEs",
              "ENTG_PDPTE_UNCHECKED_NON_PAE"), .mode = GUEST_32 },
        { ROW("fields.without-ept", "PDPTE fields without EPT",
              "ENTG_PDPTE_VMCS_FIELDS_IGNORED_WITHOUT_EPT", "enable-ept"),
          .mode = GUEST_PAE, .accept = EDITS(ALL_FIELDS(~0ull)) },
};

TABLE(unused, unused_rows, .id = "entry.guest.pdpte.not-checked",
      .title = "PDPTEs that are not used", .sdm = SDM)
{
        struct probe p = *(const struct probe *)case_row(self, row);

        p.given = EDITS(SHOW_EXCEPTIONS);
        probe_check(self, &p);
}

static void ept_own_table(struct vm *vm)
{
        with_ept(vm);
        own_table(vm);
}

CASE(memory_unused, .id = "entry.guest.pdpte.not-checked.memory.with-ept",
     .title = "the table in memory under EPT", .sdm = SDM,
     .rules = "ENTG_PDPTE_MEMORY_IGNORED_WITH_EPT", .needs = "enable-ept")
{
        struct probe p = {
                .mode = GUEST_PAE, .prepare = ept_own_table,
                .given = EDITS(SHOW_EXCEPTIONS),
        };

        memset(new_table(), 0xff, 4 * sizeof(*table));
        probe_check(self, &p);
}

CASE(ept_inactive, .id = "entry.guest.pdpte.memory.ept-inactive",
     .title = "\"enable EPT\" does nothing while secondary controls are off",
     .sdm = SDM, .rules = "ENTG_PDPTE_CR3_MEMORY_CHECKED "
     "ENTG_PDPTE_VMCS_FIELDS_IGNORED_WITHOUT_EPT", .needs = "enable-ept")
{
        const struct edit *off = EDITS(CLEAR(PRIMARY_CONTROLS,
                                             CTL_PRIMARY_ACTIVATE_SECONDARY));
        struct probe p = {
                .mode = GUEST_PAE, .prepare = ept_own_table,
                .given = EDITS(SHOW_EXCEPTIONS),
                .reject = off, .outcome = BAD_PDPTE,
        };

        new_table()[3] |= BIT(1);
        probe_check(self, &p);
        /* And the other way round. */
        p.accept = EDITS(CLEAR(PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY),
                         BAD_FIELDS);
        p.reject = EDITS(BAD_FIELDS);
        table[3] &= ~BIT(1);
        probe_check(self, &p);
}

/* Not of the first entry, which maps the guest's code. */
FAMILY(tme, 3, .id = "entry.guest.pdpte.vmcs.tme",
       .title = "memory encryption does not narrow PDPTEs (from 1) with EPT",
       .sdm = SDM, .rules = "ENTG_PDPTE_TME_NOT_REDUCED_WITH_EPT",
       .needs = "tme enable-ept")
{
        unsigned top = physical_address_width(), keys = tme_key_bits();
        u64 entry = guest_env()->pae_pdpt[1 + row];

        if (!keys)
                case_skip("IA32_TME_ACTIVATE takes no address bits");
        for (unsigned bit = top; bit < top + keys; bit++)
                check_value(self, true, 1 + row, entry | BIT(bit), true);
}

/*
 * Loading. The second GByte is an alias of the first, or not present. The
 * guest reads through it; the table may change before, and CR3 may be reloaded.
 */
static u32 *data;

/* EBX: the alias; EAX: the entry's address, of which the low half becomes ECX. */
PROGRAM(read_alias, 32, "mov (%ebx), %eax\nvmcall\n");
PROGRAM(write_read, 32, "mov %ecx, (%eax)\nmov (%ebx), %eax\nvmcall\n");
PROGRAM(write_reload_read, 32,
        "mov %ecx, (%eax)\nmov %cr3, %edx\nmov %edx, %cr3\n"
        "mov (%ebx), %eax\nvmcall\n");
PROGRAM(reload_read, 32,
        "mov %cr3, %edx\nmov %edx, %cr3\nmov (%ebx), %eax\nvmcall\n");

struct load_row {
        struct row head;
        const struct program *program;
        bool ept, memory, field;    /* the alias is present there */
        u32 written;                /* the guest writes: 0 not present, 1 present */
        bool seen;                  /* the read succeeds */
};

static const struct load_row load_rows[] = {
        { .head = { "memory.present", "from memory", "ENTL_PDPTE_FROM_MEMORY" },
          .program = &read_alias, .memory = true, .seen = true },
        { .head = { "memory.absent", "from memory", "ENTL_PDPTE_FROM_MEMORY" },
          .program = &read_alias, .memory = false, .seen = false },
        { .head = { "memory.removed", "a later change has no effect",
                    "ENTL_PDPTE_FROM_MEMORY" },
          .program = &write_read, .memory = true, .written = 0, .seen = true },
        { .head = { "memory.added", "a later change has no effect",
                    "ENTL_PDPTE_FROM_MEMORY" },
          .program = &write_read, .memory = false, .written = 1, .seen = false },
        { .head = { "memory.removed-reload", "until CR3 is loaded",
                    "ENTL_PDPTE_FROM_MEMORY" },
          .program = &write_reload_read, .memory = true, .written = 0,
          .seen = false },
        { .head = { "memory.added-reload", "until CR3 is loaded",
                    "ENTL_PDPTE_FROM_MEMORY" },
          .program = &write_reload_read, .memory = false, .written = 1,
          .seen = true },
        { .head = { "vmcs.present", "from the VMCS", "ENTL_PDPTE_FROM_VMCS",
                    "enable-ept" },
          .program = &read_alias, .ept = true, .field = true, .memory = false,
          .seen = true },
        { .head = { "vmcs.absent", "from the VMCS", "ENTL_PDPTE_FROM_VMCS",
                    "enable-ept" },
          .program = &read_alias, .ept = true, .field = false, .memory = true,
          .seen = false },
        { .head = { "vmcs.absent-reload", "until CR3 is loaded",
                    "ENTL_PDPTE_FROM_VMCS", "enable-ept" },
          .program = &reload_read, .ept = true, .field = false, .memory = true,
          .seen = true },
        { .head = { "vmcs.present-reload", "until CR3 is loaded",
                    "ENTL_PDPTE_FROM_VMCS", "enable-ept" },
          .program = &reload_read, .ept = true, .field = true, .memory = false,
          .seen = false },
};

static struct vm *load_begin(const struct program *program, u64 in_memory)
{
        struct vm *vm = vm_begin(GUEST_PAE);

        data = page_alloc(1);
        *data = 0x600df00d;
        new_table()[1] = in_memory;
        own_table(vm);
        vm_program(vm, *program);
        vm_control(VMCS_PRIMARY_CONTROLS, 0, CTL_PRIMARY_CR3_LOAD_EXITING |
                                             CTL_PRIMARY_CR3_STORE_EXITING);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm->regs.rax = (ulong)&table[1];
        vm->regs.rbx = (ulong)data + GIB;
        return vm;
}

static void check_page_fault(struct vmx_result r, u32 address)
{
        CHECK_RESULT("the guest's read", r,
                     EXITS_WITH(EXIT_EXCEPTION_NMI, address));
        CHECK_EQ("the exception", vmread(VMCS_EXIT_INTERRUPTION_INFO),
                 0x80000b00u | VEC_PF);
        CHECK_EQ("its error code", vmread(VMCS_EXIT_INTERRUPTION_ERROR_CODE), 0);
}

TABLE(load, load_rows, .id = "entry.guest.pdpte.load",
      .title = "where PDPTEs are loaded from", .sdm = SDM_LOAD)
{
        const struct load_row *r = case_row(self, row);
        u64 alias = guest_env()->pae_pdpt[0];
        struct vmx_result result;
        struct vm *vm;

        if (!control_can_be_0(WORD_PRIMARY, CTL_PRIMARY_CR3_LOAD_EXITING |
                                            CTL_PRIMARY_CR3_STORE_EXITING)) {
                case_skip("CR3 accesses always exit");
                return;
        }
        vm = load_begin(r->program, r->memory ? alias : 0);
        vm->regs.rcx = r->written ? (ulong)alias : 0;
        if (r->ept) {
                with_ept(vm);
                vmwrite(FIELD(1), r->field ? alias : 0);
        }
        vm_poison(0);
        result = vm_enter(vm);
        if (r->seen) {
                CHECK_RESULT("the guest's read", result, EXITS(EXIT_VMCALL));
                CHECK_MASKED("what it read", vm->regs.rax, 0x600df00d,
                             0xffffffff);
        } else {
                check_page_fault(result, (u32)(ulong)data + GIB);
        }
}

FAMILY(field_absent, 3, .id = "entry.guest.pdpte.load.field-absent",
       .title = "a field with P = 0 makes its GByte (from 1) not present",
       .sdm = SDM_LOAD, .rules = "ENTL_PDPTE_NOT_PRESENT_FIELD",
       .needs = "enable-ept")
{
        struct vm *vm = load_begin(&read_alias, guest_env()->pae_pdpt[0]);
        u32 address = GIB * (1 + row) + 0x1000;

        with_ept(vm);
        vmwrite(FIELD(1 + row), 0);
        vm->regs.rbx = address;
        vm_poison(0);
        check_page_fault(vm_enter(vm), address);
}

CASE(field_unmapped, .id = "entry.guest.pdpte.load.field-unmapped",
     .title = "a PDPTE that EPT does not map is noticed when it is used",
     .sdm = SDM_LOAD, .rules = "ENTL_PDPTE_EPT_VIOLATION_LATER",
     .needs = "enable-ept")
{
        struct vm *vm = vm_begin(GUEST_PAE);

        with_ept_hole(vm);
        vmwrite(FIELD(1), EPT_HOLE | PTE_P);
        vm_poison(0);
        CHECK_RESULT("a guest that does not use it", vm_enter(vm),
                     EXITS(EXIT_VMCALL));

        vm = load_begin(&read_alias, 0);
        with_ept_hole(vm);
        vmwrite(FIELD(1), EPT_HOLE | PTE_P);
        vm_poison(0);
        CHECK_RESULT("the guest's read", vm_enter(vm), EXITS(EXIT_EPT_VIOLATION));
        CHECK_MASKED("exit qualification", vmread(VMCS_EXIT_QUALIFICATION),
                     BIT(7), BIT(7) | BIT(8));
        CHECK_MASKED("guest-physical address",
                     vmread(VMCS_GUEST_PHYSICAL_ADDRESS), EPT_HOLE, ~0xfffull);
}
