/*
 * SDM Vol. 3, APIC Virtualization and Virtual Interrupts > Virtualizing
 * Memory-Mapped APIC Accesses: which accesses to the APIC-access page exit,
 * which are virtualized, and with what effect.
 */
#include "lib/string.h"
#include "x86/apic.h"
#include "x86/memory.h"
#include "x86/vmx/exit_probe.h"

#define SDM_ACCESS "APIC Virtualization and Virtual Interrupts > " \
                   "Virtualizing Memory-Mapped APIC Accesses"
#define SDM_READ SDM_ACCESS " > Virtualizing Reads from the APIC-Access Page"
#define SDM_WRITE SDM_ACCESS " > Virtualizing Writes to the APIC-Access Page"
#define SDM_WRITES_WHICH SDM_WRITE \
        " > Determining Whether a Write Access is Virtualized"
#define SDM_EMULATION SDM_WRITE " > APIC-Write Emulation"

PROGRAM(read_code, NATIVE_BITS, "mov (%" CX "), %eax\n vmcall\n");
PROGRAM(write_code, NATIVE_BITS, "mov %eax, (%" CX ")\n vmcall\n");
PROGRAM(fetch_code, NATIVE_BITS, "jmp *%" CX "\n vmcall\n");

/* The access type, bits 15:12 of the exit qualification. */
#define READ  0x0000
#define WRITE 0x1000
#define FETCH 0x2000

/* What is behind the two pages; the guest must see neither where it exits. */
#define IN_ACCESS_PAGE  0xacce55aau
#define IN_VIRTUAL_PAGE 0x71271234u

enum apic_mode { PLAIN, SHADOW, REGISTERS };

struct pages {
        struct vm *vm;
        u8 *access, *virtual;
};

static struct pages begin(enum apic_mode mode, struct program program,
                          u32 offset)
{
        struct pages p = { .access = page_alloc(1), .virtual = page_alloc(1) };
        u64 secondary = CTL_SECONDARY_VIRTUALIZE_APIC_ACCESSES;

        p.vm = vm_begin(GUEST_NATIVE);
        vm_program(p.vm, program);
        guest_map_small(p.access);
        p.vm->regs.rcx = (ulong)p.access + offset;
        vmwrite(VMCS_APIC_ACCESS_ADDRESS, phys(p.access));
        vmwrite(VMCS_VIRTUAL_APIC_ADDRESS, phys(p.virtual));
        if (mode == REGISTERS)
                secondary |= CTL_SECONDARY_APIC_REGISTER_VIRTUALIZATION;
        if (mode != PLAIN)
                vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_TPR_SHADOW, 0);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_ACTIVATE_SECONDARY, 0);
        vm_control(VMCS_SECONDARY_CONTROLS, secondary, 0);
        *(u32 *)(p.access + (offset & 0xffc)) = IN_ACCESS_PAGE;
        *(u32 *)(p.virtual + (offset & 0xffc)) = IN_VIRTUAL_PAGE;
        vm_poison(0);
        return p;
}

static void check_exit(struct pages *p, u32 type, u32 offset)
{
        struct vmx_result got = vm_enter(p->vm);

        /* Bits 63:17 are undefined; bit 16 is for asynchronous accesses. */
        got.info &= BITS(16, 0);
        if (!CHECK_RESULT("the access exits", got,
                          EXITS_WITH(EXIT_APIC_ACCESS, type | offset))) {
                vm_report_exit();
                return;
        }
        if (type != FETCH)
                CHECK_EQ("RIP at the instruction", vmread(VMCS_GUEST_RIP),
                         p->vm->entry_rip);
        CHECK_EQ("APIC-access page, as before",
                 *(u32 *)(p->access + (offset & 0xffc)), IN_ACCESS_PAGE);
        CHECK_EQ("virtual-APIC page, as before",
                 *(u32 *)(p->virtual + (offset & 0xffc)), IN_VIRTUAL_PAGE);
}

static void check_read(struct pages *p)
{
        if (!CHECK_RESULT("the read is virtualized", vm_enter(p->vm),
                          EXITS(EXIT_VMCALL))) {
                vm_report_exit();
                return;
        }
        CHECK_EQ("EAX, from the virtual-APIC page",
                 p->vm->regs.rax & 0xffffffff, IN_VIRTUAL_PAGE);
}

/* Offsets that "APIC-register virtualization" virtualizes, for reads; 16-byte
 * units. ISR, TMR and IRR are 10H-27H. */
static bool read_virtualized(u32 offset)
{
        switch (offset) {
        case APIC_ID: case APIC_VERSION: case APIC_TPR: case APIC_EOI:
        case APIC_LDR: case APIC_DFR: case APIC_SVR: case APIC_ESR:
        case APIC_ICR: case APIC_ICR_HIGH: case APIC_LVT_TIMER:
        case APIC_LVT_THERMAL: case APIC_LVT_PERF: case APIC_LVT_LINT0:
        case APIC_LVT_LINT1: case APIC_LVT_ERROR: case APIC_TIMER_INITIAL:
        case APIC_TIMER_DIVIDE:
                return true;
        default:
                return offset >= APIC_ISR && offset < APIC_ESR;
        }
}

/* And for writes. */
static bool write_virtualized(u32 offset)
{
        return read_virtualized(offset) && offset != APIC_VERSION &&
               !(offset >= APIC_ISR && offset < APIC_ESR);
}

/* Every 16 bytes up to the last register of an APIC. */
FAMILY(read_plain, 64, .id = "apic-access.read.no-shadow",
       .title = "without a TPR shadow every read of the page exits",
       .sdm = SDM_READ, .rules = "APIC_RD_NO_SHADOW",
       .needs = "virtualize-apic-accesses")
{
        struct pages p = begin(PLAIN, read_code, row * 0x10);

        check_exit(&p, READ, row * 0x10);
}

FAMILY(write_plain, 64, .id = "apic-access.write.no-shadow",
       .title = "without a TPR shadow every write to the page exits",
       .sdm = SDM_WRITES_WHICH, .rules = "APIC_WR_NO_SHADOW",
       .needs = "virtualize-apic-accesses")
{
        struct pages p = begin(PLAIN, write_code, row * 0x10);

        check_exit(&p, WRITE, row * 0x10);
}

FAMILY(read_shadow, 64, .id = "apic-access.read.shadow",
       .title = "with a TPR shadow only the read of the TPR is virtualized",
       .sdm = SDM_READ, .rules = "APIC_RD_TPR_BASIC APIC_RD_OTHER_NO_ARV "
                                 "APIC_RD_SOURCE_VAPIC",
       .needs = "virtualize-apic-accesses use-tpr-shadow")
{
        struct pages p = begin(SHADOW, read_code, row * 0x10);

        if (row * 0x10 == APIC_TPR)
                check_read(&p);
        else
                check_exit(&p, READ, row * 0x10);
}

FAMILY(write_shadow, 64, .id = "apic-access.write.shadow",
       .title = "with a TPR shadow only the write of the TPR is virtualized",
       .sdm = SDM_WRITES_WHICH, .rules = "APIC_WR_TPR_BASIC "
                                         "APIC_WR_OTHER_NO_ARV_NO_VID "
                                         "APIC_EMU_TPR_CLEAR_BYTES",
       .needs = "virtualize-apic-accesses use-tpr-shadow")
{
        struct pages p = begin(SHADOW, write_code, row * 0x10);

        if (row * 0x10 != APIC_TPR) {
                check_exit(&p, WRITE, row * 0x10);
                return;
        }
        p.vm->regs.rax = 0xffffffa5;
        CHECK_RESULT("the write is virtualized", vm_enter(p.vm),
                     EXITS(EXIT_VMCALL));
        CHECK_EQ("virtual TPR", *(u32 *)(p.virtual + APIC_TPR), 0xa5);
        CHECK_EQ("APIC-access page", *(u32 *)(p.access + APIC_TPR),
                 IN_ACCESS_PAGE);
}

FAMILY(read_registers, 64, .id = "apic-access.read.registers",
       .title = "the reads that APIC-register virtualization virtualizes",
       .sdm = SDM_READ,
       .rules = "APIC_RD_ARV_ID_VERSION APIC_RD_ARV_TPR_EOI "
                "APIC_RD_ARV_LDR_DFR_SVR APIC_RD_ARV_ISR APIC_RD_ARV_TMR "
                "APIC_RD_ARV_IRR APIC_RD_ARV_ESR_ICR APIC_RD_ARV_LVT_TIMER "
                "APIC_RD_ARV_UNLISTED",
       .needs = "virtualize-apic-accesses use-tpr-shadow "
                "apic-register-virtualization")
{
        struct pages p = begin(REGISTERS, read_code, row * 0x10);

        if (read_virtualized(row * 0x10))
                check_read(&p);
        else
                check_exit(&p, READ, row * 0x10);
}

/*
 * What follows a virtualized write: TPR virtualization for 80H, nothing for
 * 310H, and for the others, without virtual-interrupt delivery, an exit behind
 * the instruction.
 */
FAMILY(write_registers, 64, .id = "apic-access.write.registers",
       .title = "the writes that APIC-register virtualization virtualizes",
       .sdm = SDM_WRITES_WHICH,
       .rules = "APIC_WR_ARV_LIST APIC_WR_ARV_UNLISTED",
       .needs = "virtualize-apic-accesses use-tpr-shadow "
                "apic-register-virtualization")
{
        const u32 offset = row * 0x10, value = 0x12345678;
        struct pages p = begin(REGISTERS, write_code, offset);
        struct vmx_result got;

        if (!write_virtualized(offset)) {
                check_exit(&p, WRITE, offset);
                return;
        }
        p.vm->regs.rax = value;
        got = vm_enter(p.vm);
        if (offset == APIC_TPR || offset == APIC_ICR_HIGH) {
                CHECK_RESULT("the write is virtualized", got,
                             EXITS(EXIT_VMCALL));
                /* TPR: bytes 3:1 cleared. 310H: bytes 2:0. */
                CHECK_EQ("virtual-APIC page", *(u32 *)(p.virtual + offset),
                         value & (offset == APIC_TPR ? 0xff : 0xff000000));
                return;
        }
        if (!CHECK_RESULT("the write is virtualized, then exits", got,
                          EXITS_WITH(EXIT_APIC_WRITE, offset))) {
                vm_report_exit();
                return;
        }
        CHECK_EQ("virtual-APIC page", *(u32 *)(p.virtual + offset), value);
        CHECK("RIP behind the instruction",
              vmread(VMCS_GUEST_RIP) == p.vm->entry_rip + 2, "RIP 0x%llx",
              (unsigned long long)vmread(VMCS_GUEST_RIP));
}

struct offset_row {
        struct row head;
        enum apic_mode mode;
        u32 offset;
};

/* Not wholly in the low 4 bytes of a 16-byte unit, or beyond the registers. */
static const struct offset_row odd_offsets[] = {
        { ROW("tpr-81", NULL, "APIC_RD_UPPER_12_BYTES"), REGISTERS, 0x81 },
        { ROW("tpr-84", NULL, "APIC_RD_UPPER_12_BYTES"), REGISTERS, 0x84 },
        { ROW("tpr-88", NULL, "APIC_RD_UPPER_12_BYTES"), REGISTERS, 0x88 },
        { ROW("tpr-8c", NULL, "APIC_RD_UPPER_12_BYTES"), REGISTERS, 0x8c },
        { ROW("icr-304", NULL, "APIC_RD_UPPER_12_BYTES"), REGISTERS, 0x304 },
        { ROW("400", NULL, "APIC_RD_ARV_ABOVE_400"), REGISTERS, 0x400 },
        { ROW("480", NULL, "APIC_RD_ARV_ABOVE_400"), REGISTERS, 0x480 },
        { ROW("800", NULL, "APIC_RD_ARV_ABOVE_400"), REGISTERS, 0x800 },
        { ROW("ffc", NULL, "APIC_RD_ARV_ABOVE_400"), REGISTERS, 0xffc },
};

TABLE(odd, odd_offsets, .id = "apic-access.read.odd",
      .title = "reads beside the registers exit", .sdm = SDM_READ,
      .needs = "virtualize-apic-accesses use-tpr-shadow "
                "apic-register-virtualization")
{
        const struct offset_row *r = case_row(self, row);
        struct pages p = begin(r->mode, read_code, r->offset);

        check_exit(&p, READ, r->offset);
        p = begin(r->mode, read_code, APIC_TPR);
        check_read(&p);
}

/* The neighbour page is memory like any other. */
CASE(neighbour, .id = "apic-access.neighbour",
     .title = "accesses outside the page do not exit", .sdm = SDM_ACCESS,
     .rules = "APIC_RD_NO_SHADOW APIC_WR_NO_SHADOW",
     .needs = "virtualize-apic-accesses")
{
        struct pages p = begin(PLAIN, read_code, 0);

        p.vm->regs.rcx = (ulong)p.virtual;
        CHECK_RESULT("read", vm_enter(p.vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("EAX", p.vm->regs.rax & 0xffffffff, IN_VIRTUAL_PAGE);
        p = begin(PLAIN, write_code, 0);
        p.vm->regs.rcx = (ulong)p.virtual;
        p.vm->regs.rax = 0x600d;
        CHECK_RESULT("write", vm_enter(p.vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("the page", *(u32 *)p.virtual, 0x600d);
}

CASE(fetch, .id = "apic-access.fetch",
     .title = "an instruction fetch from the page exits, also at the TPR",
     .sdm = SDM_READ, .rules = "APIC_RD_FETCH_NEVER",
     .needs = "virtualize-apic-accesses use-tpr-shadow")
{
        struct pages p = begin(SHADOW, fetch_code, APIC_TPR);

        check_exit(&p, FETCH, APIC_TPR);
}

/* The write decides, not the value before it. */
FAMILY(threshold, 16, .id = "apic-access.write.threshold",
       .title = "a write of the TPR below the threshold exits behind it",
       .sdm = SDM_EMULATION, .rules = "VAPIC_TPR_BELOW_MEM APIC_EMU_TPR_NO_56 "
                                      "APIC_EMU_TPR_LOW_NIBBLE_KEPT",
       .needs = "virtualize-apic-accesses use-tpr-shadow")
{
        for (u32 value = row ? row - 1 : 0; value <= row; value++) {
                struct pages p = begin(SHADOW, write_code, APIC_TPR);

                vmwrite(VMCS_TPR_THRESHOLD, row);
                p.virtual[APIC_TPR] = 0xf0;
                p.vm->regs.rax = value << 4 | 0xc;
                if (value < row)
                        CHECK_RESULT("below the threshold", vm_enter(p.vm),
                                     EXITS_WITH(EXIT_TPR_BELOW_THRESHOLD, 0));
                else
                        CHECK_RESULT("not below the threshold", vm_enter(p.vm),
                                     EXITS(EXIT_VMCALL));
                CHECK_EQ("virtual TPR", *(u32 *)(p.virtual + APIC_TPR),
                         value << 4 | 0xc);
        }
}
