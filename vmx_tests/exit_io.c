/*
 * SDM Vol. 3, VMX Non-Root Operation > Instructions That Cause VM Exits
 * Conditionally: IN, INS, OUT, OUTS, and the two I/O bitmaps. The exit
 * qualification: VM Exits > Exit Qualification for I/O Instructions.
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/exit_probe.h"

#define SDM "VMX Non-Root Operation > Instructions That Cause VM Exits > " \
            "Instructions That Cause VM Exits Conditionally"

ONE(inb_code, "inb %dx, %al");
ONE(inw_code, "inw %dx, %ax");
ONE(inl_code, "inl %dx, %eax");
ONE(outb_code, "outb %al, %dx");
ONE(outw_code, "outw %ax, %dx");
ONE(outl_code, "outl %eax, %dx");
ONE(inb_immediate_code, "inb $0x80, %al");
ONE(outb_immediate_code, "outb %al, $0x80");
ONE(insb_code, "insb");
ONE(outsb_code, "outsb");
ONE(insw_code, "insw");
ONE(insl_code, "insl");
ONE(outsw_code, "outsw");
ONE(outsl_code, "outsl");
#ifdef __x86_64__
ONE(inl_rex_code, ".byte 0x48, 0xed");
#endif
ONE(rep_insb_code, "rep insb");
ONE(rep_outsb_code, "rep outsb");

#define SIZE(bytes)  ((bytes) - 1)
#define IN           BIT(3)
#define STRING       BIT(4)
#define REP          BIT(5)
#define IMMEDIATE    BIT(6)
#define PORT(n)      ((u64)(n) << 16)
/* Bits that the SDM does not define. */
#define UNDEFINED    (BITS(15, 7) | BITS(63, 32))

/* Of REP. */
#define ROUNDS 4

/* A port that no device of a PC answers, in either bitmap. */
#define QUIET 0x6100

enum bitmaps { ALL_CLEAR, ALL_SET };

struct io_row {
        struct row head;
        const struct program *program;
        u16 port;
        /* The bits of the side that runs; the other side differs in one. */
        enum bitmaps fill;
        u16 own;      /* with ALL_SET: ports from @port whose bits are cleared */
        u16 bit;      /* the port whose bit makes it exit */
        u64 outcome;  /* qualification without the port */
};

/* Bitmap A and B lie one behind the other, so that a port is a bit number. */
static u8 *make_bitmaps(enum bitmaps fill)
{
        u8 *bitmaps = page_alloc(2);

        if (fill == ALL_SET)
                memset(bitmaps, 0xff, 2 * PAGE_SIZE);
        vmwrite(VMCS_IO_BITMAP_A, phys(bitmaps));
        vmwrite(VMCS_IO_BITMAP_B, phys(bitmaps) + PAGE_SIZE);
        return bitmaps;
}

static struct vm *io_guest(struct program program, u16 port)
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        vm_program(vm, program);
        vm->regs.rax = 0;
        vm->regs.rdx = port;
        vm->regs.rcx = ROUNDS;
        vm->regs.rsi = vm->regs.rdi = (ulong)vmread(VMCS_GUEST_RSP) - 512;
        vm_poison(0);
        return vm;
}

static void use_bitmaps(u8 *bitmaps, const struct io_row *r, bool exits)
{
        for (unsigned i = 0; r->fill == ALL_SET && i < r->own; i++)
                bitmaps[(r->port + i) / 8] &= (u8)~(1u << (r->port + i) % 8);
        if (exits)
                bitmaps[r->bit / 8] |= (u8)(1u << r->bit % 8);
        else
                bitmaps[r->bit / 8] &= (u8)~(1u << r->bit % 8);
        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_IO_BITMAPS, 0);
}

#define IO(name, what, rule, code, p, bytes, f, exit_bit, flags)              \
        { ROW(name, what, rule), .program = &code, .port = (p), .fill = f,    \
          .own = (bytes), .bit = (exit_bit), .outcome = SIZE(bytes) | (flags) }

static const struct io_row bitmap_rows[] = {
        IO("a-first", "port 0 is bit 0 of bitmap A", "EXI_IO_BITMAP_A_LOW",
           inb_code, 0x0000, 1, ALL_SET, 0x0000, IN),
        IO("a-last", "port 7FFFH is the last bit of bitmap A",
           "EXI_IO_BITMAP_A_HIGH", inb_code, 0x7fff, 1, ALL_SET, 0x7fff, IN),
        IO("b-first", "port 8000H is bit 0 of bitmap B", "EXI_IO_BITMAP_B_LOW",
           inb_code, 0x8000, 1, ALL_SET, 0x8000, IN),
        IO("b-last", "port FFFFH is the last bit of bitmap B",
           "EXI_IO_BITMAP_B_HIGH", inb_code, 0xffff, 1, ALL_SET, 0xffff, IN),
        IO("alone", "one bit set is enough", "EXI_IO_BITMAP_NEIGHBOUR",
           inb_code, QUIET, 1, ALL_CLEAR, QUIET, IN),
        IO("word-low", "the first byte of a word", "EXI_IO_BITMAP_WORD",
           inw_code, QUIET, 2, ALL_SET, QUIET, IN),
        IO("word-high", "the second byte of a word", "EXI_IO_BITMAP_WORD",
           inw_code, QUIET, 2, ALL_SET, QUIET + 1, IN),
        IO("dword-0", "byte 0 of a doubleword", "EXI_IO_BITMAP_DWORD",
           inl_code, QUIET, 4, ALL_SET, QUIET, IN),
        IO("dword-1", "byte 1 of a doubleword", "EXI_IO_BITMAP_DWORD",
           inl_code, QUIET, 4, ALL_SET, QUIET + 1, IN),
        IO("dword-2", "byte 2 of a doubleword", "EXI_IO_BITMAP_DWORD",
           inl_code, QUIET, 4, ALL_SET, QUIET + 2, IN),
        IO("dword-3", "byte 3 of a doubleword", "EXI_IO_BITMAP_DWORD",
           inl_code, QUIET, 4, ALL_SET, QUIET + 3, IN),
        IO("byte-cross", "a word over two bytes of the bitmap",
           "EXI_IO_BITMAP_BYTE_CROSS", inw_code, QUIET + 7, 2, ALL_SET,
           QUIET + 8, IN),
        IO("span-a", "a word over both bitmaps, bit in A", "EXI_IO_SPAN_A_B",
           inw_code, 0x7fff, 2, ALL_SET, 0x7fff, IN),
        IO("span-b", "a word over both bitmaps, bit in B", "EXI_IO_SPAN_A_B",
           inw_code, 0x7fff, 2, ALL_SET, 0x8000, IN),
        IO("span-dword-1", "a doubleword over both bitmaps, last bit in B",
           "EXI_IO_SPAN_A_B", inl_code, 0x7ffd, 4, ALL_SET, 0x8000, IN),
        IO("span-dword-3", "a doubleword over both bitmaps, three bits in B",
           "EXI_IO_SPAN_A_B", inl_code, 0x7fff, 4, ALL_SET, 0x8002, IN),
        IO("outb", "OUT of a byte", "EXI_IO_BITMAP_NEIGHBOUR", outb_code,
           QUIET, 1, ALL_SET, QUIET, 0),
        IO("outw", "OUT of a word", "EXI_IO_BITMAP_WORD", outw_code, QUIET, 2,
           ALL_SET, QUIET + 1, 0),
        IO("outl", "OUT of a doubleword", "EXI_IO_BITMAP_DWORD", outl_code,
           QUIET, 4, ALL_SET, QUIET + 3, 0),
        IO("insb", "INS", "EXI_IO_INS_OUTS", insb_code, QUIET, 1, ALL_SET,
           QUIET, IN | STRING),
        IO("insw", "INS of a word", "EXI_IO_INS_OUTS EXI_IO_DATASIZE_16_32",
           insw_code, QUIET, 2, ALL_SET, QUIET + 1, IN | STRING),
        IO("insd", "INS of a doubleword", "EXI_IO_INS_OUTS EXI_IO_DATASIZE_16_32",
           insl_code, QUIET, 4, ALL_SET, QUIET + 3, IN | STRING),
        IO("outsb", "OUTS", "EXI_IO_INS_OUTS", outsb_code, QUIET, 1, ALL_SET,
           QUIET, STRING),
        IO("outsw", "OUTS of a word", "EXI_IO_INS_OUTS EXI_IO_DATASIZE_16_32",
           outsw_code, QUIET, 2, ALL_SET, QUIET + 1, STRING),
        IO("outsd", "OUTS of a doubleword",
           "EXI_IO_INS_OUTS EXI_IO_DATASIZE_16_32", outsl_code, QUIET, 4,
           ALL_SET, QUIET + 3, STRING),
#ifdef __x86_64__
        IO("rex-w", "REX.W does not make it 8 bytes", "EXI_IO_DATASIZE_16_32",
           inl_rex_code, QUIET, 4, ALL_SET, QUIET + 3, IN),
#endif
        IO("rep-insb", "REP INS", "EXI_IO_REP_FIRST", rep_insb_code, QUIET, 1,
           ALL_SET, QUIET, IN | STRING | REP),
        IO("rep-outsb", "REP OUTS", "EXI_IO_REP_FIRST", rep_outsb_code, QUIET,
           1, ALL_SET, QUIET, STRING | REP),
};

static void check_exit(struct vm *vm, const struct guest_regs *before,
                       struct program program, u64 qualification,
                       const char *what)
{
        struct vmx_result got = vm_enter(vm);

        got.info &= ~UNDEFINED;
        if (!CHECK_RESULT(what, got,
                          EXITS_WITH(EXIT_IO_INSTRUCTION, qualification))) {
                vm_report_exit();
                return;
        }
        CHECK_EQ("RIP at the instruction", vmread(VMCS_GUEST_RIP),
                 vm->entry_rip);
        CHECK_EQ("VM-exit instruction length",
                 vmread(VMCS_EXIT_INSTRUCTION_LENGTH),
                 program.end - program.start - 3);
        CHECK("general registers as before",
              !memcmp(before, &vm->regs, sizeof(*before)),
              "RCX 0x%llx RDX 0x%llx RAX 0x%llx",
              (unsigned long long)vm->regs.rcx,
              (unsigned long long)vm->regs.rdx,
              (unsigned long long)vm->regs.rax);
}

/* The guest did its I/O, all rounds of it, and came to the VMCALL behind. */
static void check_runs(struct vm *vm, struct program program, bool repeated,
                       const char *what)
{
        if (!exit_probe_ran(vm, program, what))
                return;
        CHECK_EQ("RCX", vm->regs.rcx, repeated ? 0 : ROUNDS);
}

TABLE(bitmaps, bitmap_rows, .id = "exit.io.bitmap",
      .title = "I/O exits by the bits of its ports in the I/O bitmaps",
      .sdm = SDM, .needs = "use-io-bitmaps")
{
        const struct io_row *r = case_row(self, row);
        u64 want = r->outcome | PORT(r->port);

        for (unsigned exits = 0; exits < 2; exits++) {
                struct vm *vm = io_guest(*r->program, r->port);
                struct guest_regs before = vm->regs;

                use_bitmaps(make_bitmaps(r->fill), r, exits);
                if (exits)
                        check_exit(vm, &before, *r->program, want, "bit is 1");
                else
                        check_runs(vm, *r->program, r->outcome & REP,
                                   "bits are 0");
        }
}

/* Without bitmaps: all I/O by the one control. */
static const struct io_row unconditional_rows[] = {
        IO("inb", "IN AL, DX", "EXI_IO_UNCOND EXI_IO_BOTH_OFF", inb_code, QUIET,
           1, ALL_CLEAR, 0, IN),
        IO("inw", "IN AX, DX", "EXI_IO_UNCOND EXI_IO_DATASIZE_16_32", inw_code,
           QUIET, 2, ALL_CLEAR, 0, IN),
        IO("inl", "IN EAX, DX", "EXI_IO_UNCOND EXI_IO_DATASIZE_16_32", inl_code,
           QUIET, 4, ALL_CLEAR, 0, IN),
        IO("outb", "OUT DX, AL", "EXI_IO_UNCOND EXI_IO_BOTH_OFF", outb_code,
           QUIET, 1, ALL_CLEAR, 0, 0),
        IO("outw", "OUT DX, AX", "EXI_IO_UNCOND", outw_code, QUIET, 2,
           ALL_CLEAR, 0, 0),
        IO("outl", "OUT DX, EAX", "EXI_IO_UNCOND", outl_code, QUIET, 4,
           ALL_CLEAR, 0, 0),
        IO("inb-immediate", "IN AL, imm8", "EXI_IO_UNCOND", inb_immediate_code,
           0x80, 1, ALL_CLEAR, 0, IN | IMMEDIATE),
        IO("outb-immediate", "OUT imm8, AL", "EXI_IO_UNCOND",
           outb_immediate_code, 0x80, 1, ALL_CLEAR, 0, IMMEDIATE),
        IO("insb", "INS", "EXI_IO_UNCOND", insb_code, QUIET, 1, ALL_CLEAR, 0,
           IN | STRING),
        IO("rep-outsb", "REP OUTS", "EXI_IO_UNCOND", rep_outsb_code, QUIET, 1,
           ALL_CLEAR, 0, STRING | REP),
};

TABLE(unconditional, unconditional_rows, .id = "exit.io.unconditional",
      .title = "unconditional I/O exiting", .sdm = SDM,
      .needs = "unconditional-io-exiting")
{
        const struct io_row *r = case_row(self, row);

        for (unsigned exits = 0; exits < 2; exits++) {
                struct vm *vm = io_guest(*r->program, r->port);
                struct guest_regs before = vm->regs;

                vm_control(VMCS_PRIMARY_CONTROLS,
                           exits ? CTL_PRIMARY_UNCONDITIONAL_IO_EXITING : 0,
                           CTL_PRIMARY_USE_IO_BITMAPS |
                           (exits ? 0 : CTL_PRIMARY_UNCONDITIONAL_IO_EXITING));
                if (exits)
                        check_exit(vm, &before, *r->program,
                                   r->outcome | PORT(r->port), "control is 1");
                else
                        check_runs(vm, *r->program, r->outcome & REP,
                                   "control is 0");
        }
}

CASE(bitmaps_override, .id = "exit.io.bitmap.overrides-unconditional",
     .title = "with I/O bitmaps the unconditional control does nothing",
     .sdm = SDM, .rules = "EXI_IO_BITMAP_OVERRIDES_UNCOND",
     .needs = "unconditional-io-exiting use-io-bitmaps")
{
        for (unsigned exits = 0; exits < 2; exits++) {
                struct vm *vm = io_guest(inb_code, QUIET);
                struct guest_regs before = vm->regs;
                u8 *bitmaps = make_bitmaps(ALL_CLEAR);

                vm_control(VMCS_PRIMARY_CONTROLS,
                           CTL_PRIMARY_UNCONDITIONAL_IO_EXITING |
                           CTL_PRIMARY_USE_IO_BITMAPS, 0);
                bitmaps[QUIET / 8] = exits;
                if (exits)
                        check_exit(vm, &before, inb_code,
                                   SIZE(1) | IN | PORT(QUIET), "bit is 1");
                else
                        check_runs(vm, inb_code, false, "bit is 0");
        }
}

/* The side that does not wrap ends at the last port. */
static const struct io_row wrap_rows[] = {
        IO("word", "a word at FFFFH", "EXI_IO_WRAP", inw_code, 0xffff, 2,
           ALL_CLEAR, 0, IN),
        IO("dword-1", "a doubleword at FFFDH", "EXI_IO_WRAP", inl_code, 0xfffd,
           4, ALL_CLEAR, 0, IN),
        IO("dword-2", "a doubleword at FFFEH", "EXI_IO_WRAP", inl_code, 0xfffe,
           4, ALL_CLEAR, 0, IN),
        IO("dword-3", "a doubleword at FFFFH", "EXI_IO_WRAP", inl_code, 0xffff,
           4, ALL_CLEAR, 0, IN),
        IO("outw", "OUT of a word at FFFFH", "EXI_IO_WRAP", outw_code, 0xffff,
           2, ALL_CLEAR, 0, 0),
};

TABLE(wraps, wrap_rows, .id = "exit.io.wrap",
      .title = "an access that wraps around port FFFFH exits in any case",
      .sdm = SDM, .needs = "use-io-bitmaps")
{
        const struct io_row *r = case_row(self, row);
        u16 last = (u16)(0x10000 - r->own);

        for (unsigned wrap = 0; wrap < 2; wrap++) {
                u16 port = wrap ? r->port : last;
                struct vm *vm = io_guest(*r->program, port);
                struct guest_regs before = vm->regs;

                make_bitmaps(ALL_CLEAR);
                vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_USE_IO_BITMAPS, 0);
                if (wrap)
                        check_exit(vm, &before, *r->program,
                                   r->outcome | PORT(port), "wrapping");
                else
                        check_runs(vm, *r->program, false, "not wrapping");
        }
}
