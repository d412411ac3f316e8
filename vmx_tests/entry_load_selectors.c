/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Segment Registers
 * and Descriptor-Table Registers: selectors, and the CPL, which is the DPL of SS.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/vmx/event.h"
#include "x86/vmx/segment.h"

#define SDM "VM Entries > Loading Guest Segment Registers and Descriptor-Table Registers"
#define UG "unrestricted-guest"

/* ES and TR in EAX, CS and LDTR in ECX, SS and DS in EDX, FS and GS in EBX. */
PROGRAM(get_all, 32,
        "str %eax\nshl $16, %eax\nmov %es, %ax\n"
        "sldt %ecx\nshl $16, %ecx\nmov %cs, %cx\n"
        "xor %edx, %edx\nmov %ds, %edx\nshl $16, %edx\nmov %ss, %dx\n"
        "mov %gs, %ebx\nshl $16, %ebx\nmov %fs, %bx\nvmcall\n");
/* STR and SLDT do not exist in these modes. */
#define GET_16                                                              \
        "xor %eax, %eax\nmov %es, %ax\n"                                    \
        "xor %ecx, %ecx\nmov %cs, %cx\n"                                    \
        "mov %ds, %dx\nshl $16, %edx\nmov %ss, %dx\n"                       \
        "mov %gs, %bx\nshl $16, %ebx\nmov %fs, %bx\nvmcall\n"
PROGRAM(get_six, 16, GET_16);

struct selector_row {
        struct row head;
        enum guest_mode mode;
        u16 values[SEGMENTS];   /* in the order of the fields; 0: as it is */
        u8 unusable;            /* a bit for each */
};

#define RPL_0 { 0x4440, 0x2228, 0x3338, 0x5554, 0x6664, 0x7770, 0x8880, 0x1110 }
#define OTHER { 0xfff8, 0xeee0, 0xddd4, 0xcccc, 0xbbb0, 0xaaac, 0x9990, 0x8890 }
#define ALL_BUT_CS_TR 0x7d
#define DATA_AND_LDTR 0x79
static const struct selector_row selector_rows[] = {
        { ROW("long", NULL, NULL, "host64"), GUEST_LONG, RPL_0 },
        { ROW("long.other", NULL, NULL, "host64"), GUEST_LONG, OTHER },
        { ROW("long.unusable", NULL, NULL, "host64"), GUEST_LONG, RPL_0,
          ALL_BUT_CS_TR },
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT, RPL_0 },
        { ROW("compat.unusable", NULL, NULL, "host64"), GUEST_COMPAT, OTHER,
          ALL_BUT_CS_TR },
        { ROW("pae"), GUEST_PAE, RPL_0 },
        { ROW("pae.other"), GUEST_PAE, OTHER },
        { ROW("pae.unusable"), GUEST_PAE, RPL_0, ALL_BUT_CS_TR },
        { ROW("pae.unusable.other"), GUEST_PAE, OTHER, DATA_AND_LDTR },
        { ROW("protected", NULL, NULL, UG), GUEST_PROTECTED,
          /* Unrestricted guests need no relation of RPL and DPL. */
          { 0x4441, 0x2228, 0x333b, 0x5557, 0x6665, 0x7772, 0x8883, 0x1112 } },
};

static void check_selectors(struct vm *vm, const u16 *want)
{
        static const u32 fields[] = {
                VMCS_GUEST_ES_SELECTOR, VMCS_GUEST_CS_SELECTOR,
                VMCS_GUEST_SS_SELECTOR, VMCS_GUEST_DS_SELECTOR,
                VMCS_GUEST_FS_SELECTOR, VMCS_GUEST_GS_SELECTOR,
                VMCS_GUEST_LDTR_SELECTOR, VMCS_GUEST_TR_SELECTOR,
        };
        const struct guest_regs *r = &vm->regs;
        bool system = vm->mode != GUEST_REAL && vm->mode != GUEST_V86;

        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm_poison(0);
        if (!CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL)))
                return;
        CHECK_EQ("ES", (u16)r->rax, want[SEG_ES]);
        CHECK_EQ("CS", (u16)r->rcx, want[SEG_CS]);
        CHECK_EQ("SS", (u16)r->rdx, want[SEG_SS]);
        CHECK_EQ("DS", (u16)(r->rdx >> 16), want[SEG_DS]);
        CHECK_EQ("FS", (u16)r->rbx, want[SEG_FS]);
        CHECK_EQ("GS", (u16)(r->rbx >> 16), want[SEG_GS]);
        for (unsigned i = 0; i < ARRAY_LEN(fields); i++)
                CHECK_EQ(vmcs_field_name(fields[i]), vmread(fields[i]), want[i]);
        if (!system)
                return;
        CHECK_EQ("LDTR", (u16)(r->rcx >> 16), want[SEG_LDTR]);
        CHECK_EQ("TR", (u16)(r->rax >> 16), want[SEG_TR]);
}

TABLE(selectors, selector_rows, .id = "entry.load.selector",
      .title = "each selector is the field's, whether the segment is usable or not",
      .sdm = SDM, .rules = "ENTL_SEG_SELECTORS")
{
        const struct selector_row *r = case_row(self, row);
        struct vm *vm = vm_begin(r->mode);

        vmwrite(SEG_RIGHTS(SEG_LDTR), AR_LDT);
        for (unsigned seg = 0; seg < SEGMENTS; seg++) {
                vmwrite(SEG_SELECTOR(seg), r->values[seg]);
                vm_control(SEG_RIGHTS(seg),
                           r->unusable >> seg & 1 ? AR_UNUSABLE : 0, 0);
        }
        vm_program(vm, get_all);
        check_selectors(vm, r->values);
}

static const struct selector_row user_rows[] = {
        { ROW("long", NULL, NULL, "host64"), GUEST_LONG, { 0 } },
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT, { 0 } },
        { ROW("pae"), GUEST_PAE, { 0 } },
};

TABLE(user, user_rows, .id = "entry.load.selector.cpl-3",
      .title = "selectors of a guest at CPL 3, with RPL 3", .sdm = SDM,
      .rules = "ENTL_SEG_SELECTORS")
{
        static const u16 values[] = {
                0x4443, 0x222b, 0x333b, 0x5557, 0x6667, 0x7773, 0x8883, 0x1113,
        };
        const struct selector_row *r = case_row(self, row);
        struct vm *vm = vm_begin(r->mode);

        vm_user(vm);
        vmwrite(SEG_RIGHTS(SEG_LDTR), AR_LDT);
        for (unsigned seg = 0; seg < SEGMENTS; seg++)
                vmwrite(SEG_SELECTOR(seg), values[seg]);
        vm_program(vm, get_all);
        check_selectors(vm, values);
}

static const struct selector_row low_rows[] = {
        { ROW("v86"), GUEST_V86, { 0 } },
        { ROW("real", NULL, NULL, UG), GUEST_REAL, { 0 } },
};

/* The base of virtual-8086 mode belongs to the selector. */
TABLE(low, low_rows, .id = "entry.load.selector.16-bit",
      .title = "selectors of real-address and virtual-8086 mode", .sdm = SDM,
      .rules = "ENTL_SEG_SELECTORS")
{
        const struct selector_row *r = case_row(self, row);
        struct vm *vm = vm_begin(r->mode);
        u16 values[SEGMENTS] = {
                0x4441, 0, 0x333b, 0x5557, 0x6665, 0x7772,
        };

        values[SEG_CS] = (u16)vmread(SEG_SELECTOR(SEG_CS));
        values[SEG_LDTR] = (u16)vmread(SEG_SELECTOR(SEG_LDTR));
        values[SEG_TR] = (u16)vmread(SEG_SELECTOR(SEG_TR));
        for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++) {
                vmwrite(SEG_SELECTOR(seg), values[seg]);
                vmwrite(SEG_BASE(seg), (u32)values[seg] << 4);
        }
        vm_program(vm, get_six);
        check_selectors(vm, values);
}

PROGRAM(cli_code, 32, "cli\nvmcall\n");

/* The DPL of SS is @cpl; what else must follow it does. */
struct cpl_row {
        struct row head;
        enum guest_mode mode;
        bool unrestricted;   /* then nothing else does, and each RPL is 3 */
};

static const struct cpl_row cpl_rows[] = {
        { ROW("long", NULL, "ENTL_CPL_IS_SS_DPL", "host64"), GUEST_LONG },
        { ROW("compat", NULL, "ENTL_CPL_IS_SS_DPL", "host64"), GUEST_COMPAT },
        { ROW("pae", NULL, "ENTL_CPL_IS_SS_DPL"), GUEST_PAE },
        { ROW("unrestricted", NULL,
              "ENTL_CPL_IS_SS_DPL ENTL_CPL_UG_IGNORES_CS_RPL", UG),
          GUEST_NATIVE, true },
        { ROW("unrestricted.pae", NULL,
              "ENTL_CPL_IS_SS_DPL ENTL_CPL_UG_IGNORES_CS_RPL", UG),
          GUEST_PAE, true },
        { ROW("unrestricted.protected", NULL,
              "ENTL_CPL_IS_SS_DPL ENTL_CPL_UG_IGNORES_CS_RPL", UG),
          GUEST_PROTECTED, true },
};

/* Conforming code, of DPL 0, runs at every CPL. */
static void check_cpl(const struct cpl_row *r, u32 cpl, u32 iopl)
{
        u16 rpl = r->unrestricted ? 3 : (u16)cpl;
        struct vm *vm = vm_begin(r->mode);

        if (r->unrestricted)
                with_unrestricted_guest(vm);
        vm_control(SEG_RIGHTS(SEG_CS), AR_TYPE(15), 0);
        vm_control(SEG_SELECTOR(SEG_CS), rpl, 0);
        vm_control(SEG_SELECTOR(SEG_SS), rpl, 0);
        vm_control(SEG_RIGHTS(SEG_SS), AR_DPL(cpl), 0);
        vm_control(VMCS_GUEST_RFLAGS, iopl << 12, 0);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm_program(vm, cli_code);
        vm_poison(0);
        if (cpl <= iopl) {
                CHECK_EXIT("CLI with CPL <= IOPL", vm_enter(vm),
                           EXITS(EXIT_VMCALL));
                return;
        }
        CHECK_EXIT("CLI with CPL > IOPL", vm_enter(vm),
                   EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP), 0);
        CHECK_VMCS(GUEST_RIP, vm->entry_rip);
}

TABLE(cpl, cpl_rows, .id = "entry.load.cpl",
      .title = "the DPL of SS is the CPL: CLI compares it with IOPL",
      .sdm = SDM)
{
        const struct cpl_row *r = case_row(self, row);

        for (u32 level = 0; level <= 3; level++) {
                check_cpl(r, level, level);
                if (level)
                        check_cpl(r, level, level - 1);
        }
}
