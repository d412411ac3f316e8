/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Segment Registers
 * and Descriptor-Table Registers: TR. The descriptor that its selector names
 * is of another TSS, with another stack and another I/O map.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/segment.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading Guest Segment Registers and Descriptor-Table Registers"

PROGRAM(ud2_code, 32, "ud2\nvmcall\n");
PROGRAM(in_code, 32, "in $0x80, %al\nvmcall\n");
PROGRAM(get_tr, 32, "str %eax\nvmcall\n");

#define PORT 0x80
#define IO_MAP 0x68             /* behind a TSS of 32 or 64 bits */

struct task_row {
        struct row head;
        enum guest_mode mode;
};

static const struct task_row task_rows[] = {
        { ROW("native"), GUEST_NATIVE },
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT },
        { ROW("pae"), GUEST_PAE },
};

static bool is_long(const struct task_row *r)
{
        return sizeof(ulong) == 8 && r->mode != GUEST_PAE;
}

/*
 * A guest at CPL 3 whose TSS is *@t.tss, while the GDT describes another one, as
 * it was: its stack is the baseline's.
 */
static struct vm *user_guest(const struct task_row *r, struct vm_tables *t,
                             struct program program)
{
        struct vm *vm = vm_begin(r->mode);

        *t = vm_tables(vm);
        vm_user(vm);
        vm_program(vm, program);
        return vm;
}

/* #UD at CPL 3: the handler's stack is RSP0 of the TSS. */
static struct vmx_result enter_with_stack(const struct task_row *r, u32 limit,
                                          ulong *top)
{
        struct vm_tables t;
        struct vm *vm = user_guest(r, &t, ud2_code);
        u32 stack = (u32)(ulong)page_alloc(1) + PAGE_SIZE - 64;

        memcpy(t.tss + 4, &stack, 4);
        vmwrite(SEG_LIMIT(SEG_TR), limit);
        vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_TS));
        *top = stack;
        vm_poison(0);
        return vm_enter(vm);
}

TABLE(stack, task_rows, .id = "entry.load.tr.stack",
      .title = "a stack for CPL 0 comes from the TSS at TR's base, up to TR's limit",
      .sdm = SDM, .rules = "ENTL_TR_LOADED ENTL_SEG_HIDDEN_FROM_VMCS")
{
        const struct task_row *r = case_row(self, row);
        /*
         * RSP0 ends at byte 11. SS0 ends at byte 9; processors may ask for the
         * doubleword.
         */
        u32 outside = is_long(r) ? 10 : 8;
        unsigned frame = is_long(r) ? 5 * 8 : 5 * 4;
        ulong top;

        CHECK_EXIT("RSP0 ends at the limit", enter_with_stack(r, 11, &top),
                   EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RSP, top - frame);
        CHECK_VMCS(GUEST_RIP, vm_handler(&this_vmx()->vm, VEC_UD));
        CHECK_EXIT("RSP0 ends behind the limit",
                   enter_with_stack(r, outside, &top),
                   EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_TS), SEL_TSS | ERR_EXT);
        CHECK_ORIGINAL_EVENT(HARDWARE(VEC_UD), 0);
}

/* A 16-bit TSS: SP0 is the word at offset 2, SS0 the word at offset 4. */
CASE(tss_16, .id = "entry.load.tr.type",
     .title = "TR's type tells the format of the TSS", .sdm = SDM,
     .rules = "ENTL_TR_LOADED ENTL_SEG_HIDDEN_FROM_VMCS")
{
        const struct task_row r = { .mode = GUEST_PAE };
        struct vm_tables t;
        struct vm *vm = user_guest(&r, &t, ud2_code);
        u8 *stack = page_alloc(1);
        u16 words[2] = { 0x800, SEL_SPARE };

        t.gdt[SEL_SPARE / 8] = desc_make((u32)(ulong)stack, 0xfff,
                                         DESC_TYPE(3) | DESC_S | DESC_P |
                                         DESC_DB);
        memcpy(t.tss + 2, words, sizeof(words));
        vmwrite(SEG_RIGHTS(SEG_TR), AR_P | AR_TYPE(3));
        vmwrite(SEG_LIMIT(SEG_TR), 0x2b);
        vm_poison(0);
        CHECK_EXIT("the handler's VMCALL", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VEC_UD));
        CHECK_VMCS(GUEST_SS_SELECTOR, SEL_SPARE);
        CHECK_VMCS(GUEST_RSP, 0x800 - 5 * 4);
}

/* IN at CPL 3 with IOPL 0. A map of 17 bytes reaches to the port's, and beyond. */
struct io_row {
        struct row head;
        enum guest_mode mode;
        bool allowed;
        u8 map;              /* the byte of the port */
        u32 limit;
};

#define IO_ROWS(name, guest, needs_)                                          \
        { ROW(name ".open", NULL, NULL, needs_), guest, true, 0xfe,           \
          IO_MAP + PORT / 8 + 1 },                                            \
        { ROW(name ".closed", NULL, NULL, needs_), guest, false, 0x01,        \
          IO_MAP + PORT / 8 + 1 },                                            \
        { ROW(name ".beyond", NULL, NULL, needs_), guest, false, 0x00,        \
          IO_MAP + PORT / 8 - 1 }
static const struct io_row io_rows[] = {
        IO_ROWS("native", GUEST_NATIVE, NULL),
        IO_ROWS("compat", GUEST_COMPAT, "host64"),
        IO_ROWS("pae", GUEST_PAE, NULL),
};

TABLE(io_map, io_rows, .id = "entry.load.tr.io-map",
      .title = "the I/O map is that of the TSS at TR's base, up to TR's limit",
      .sdm = SDM, .rules = "ENTL_TR_LOADED ENTL_SEG_HIDDEN_FROM_VMCS")
{
        const struct io_row *r = case_row(self, row);
        const struct task_row guest = { .mode = r->mode };
        struct vm_tables t;
        struct vm *vm = user_guest(&guest, &t, in_code);
        u16 offset = IO_MAP;

        memcpy(t.tss + 0x66, &offset, 2);
        memset(t.tss + IO_MAP, 0xff, PAGE_SIZE - IO_MAP);
        t.tss[IO_MAP + PORT / 8] = r->map;
        vmwrite(SEG_LIMIT(SEG_TR), r->limit);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm_poison(0);
        if (r->allowed) {
                CHECK_EXIT("IN", vm_enter(vm), EXITS(EXIT_VMCALL));
                return;
        }
        CHECK_EXIT("IN", vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP), 0);
        CHECK_VMCS(GUEST_RIP, vm->entry_rip);
}

/* LTR would make the descriptor busy, and refuse one that is not available. */
TABLE(busy, task_rows, .id = "entry.load.tr.descriptor",
      .title = "the descriptor that TR's selector names is neither read nor changed",
      .sdm = SDM, .rules = "ENTL_TR_LOADED ENTL_SEG_HIDDEN_FROM_VMCS")
{
        const struct task_row *r = case_row(self, row);
        static const u8 types[] = { 9, 11, 0 };

        for (unsigned i = 0; i < ARRAY_LEN(types); i++) {
                struct vm *vm = vm_begin(r->mode);
                struct vm_tables t = vm_tables(vm);
                u64 *d = &t.gdt[SEL_TSS / 8], before[2];

                d[0] = types[i] ? desc_make((u32)(ulong)t.tss, TSS_LIMIT,
                                            DESC_TYPE(types[i]) | DESC_P) : 0;
                memcpy(before, d, sizeof(before));
                vm_program(vm, get_tr);
                vm_poison(0);
                CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_EQ("TR in the guest", (u32)vm->regs.rax, SEL_TSS);
                CHECK_EQ("the descriptor", d[0], before[0]);
                CHECK_EQ("its second half", d[1], before[1]);
                CHECK_VMCS_MASKED(GUEST_TR_ACCESS_RIGHTS, 11, 15);
        }
}
