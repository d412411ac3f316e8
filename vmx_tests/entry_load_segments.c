/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Segment Registers
 * and Descriptor-Table Registers: usable segments. The selectors of the guests
 * name flat descriptors; base, limit and rights are those of the VMCS.
 */
#include "lib/check.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"
#include "x86/vmx/segment.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading Guest Segment Registers and Descriptor-Table Registers"
#define UG "unrestricted-guest"

/* One byte through a segment, at (E)SI; 16-bit code in guests of real mode. */
#define ACCESSES(seg)                                                      \
        PROGRAM(via_##seg, 32, "mov %" #seg ":(%esi), %al\nvmcall\n");    \
        PROGRAM(store_##seg, 32, "mov %al, %" #seg ":(%esi)\nvmcall\n");   \
        PROGRAM(via16_##seg, 16, "mov %" #seg ":(%si), %al\nvmcall\n")
ACCESSES(es);
ACCESSES(cs);
ACCESSES(ss);
ACCESSES(ds);
ACCESSES(fs);
ACCESSES(gs);

/*
 * An access at offset @good reaches the byte that the base of the VMCS puts
 * there; one at @bad faults.
 */
struct access {
        struct row head;
        enum guest_mode mode;
        enum segment seg;
        const struct program *program;
        u32 good, bad;       /* the same: @bad_type faults */
        u32 limit;
        u32 type, bad_type;  /* of the access rights; 0: as it is */
        u32 set, clear;      /* other bits of the access rights */
        bool writes;
};

static u8 target = 0x5a;

/* Code that is not run twice: how a processor keeps decoded code is no matter. */
static u8 *copy(struct program program)
{
        u8 *page = page_alloc(1);

        memcpy(page, program.start, (size_t)(program.end - program.start) + 3);
        return page;
}

static struct vmx_result access_enter(const struct access *a, bool bad)
{
        struct vm *vm = vm_begin(a->mode);
        u32 offset = bad ? a->bad : a->good;
        u32 type = bad && a->bad_type ? a->bad_type : a->type;

        /* The fault shows as such even where its handler could not run. */
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm_program(vm, *a->program);
        if (a->seg == SEG_CS) {
                /* Code moves with its base: the byte is in the program. */
                if (a->mode != GUEST_REAL)
                        vmwrite(SEG_BASE(SEG_CS), (ulong)copy(*a->program));
                vmwrite(VMCS_GUEST_RIP, 0);
        } else {
                vmwrite(SEG_BASE(a->seg), (u32)((u32)(ulong)&target - offset));
        }
        vmwrite(SEG_LIMIT(a->seg), a->limit);
        if (type) {
                vm_control(SEG_RIGHTS(a->seg), 0, AR_TYPE(15));
                vm_control(SEG_RIGHTS(a->seg), type, 0);
        }
        vm_control(SEG_RIGHTS(a->seg), a->set, a->clear);
        vm->regs.rsi = offset;
        vm->regs.rax = 0x77;
        vm_poison(0);
        return vm_enter(vm);
}

static void check_fault(const struct access *a, struct vmx_result got, u64 rip)
{
        u8 vector = a->seg == SEG_SS ? VEC_SS : VEC_GP;

        CHECK_EXIT("the other side", got, EXITS(EXIT_EXCEPTION_NMI));
        /* Exceptions have no error code in real-address mode: not judged here. */
        if (a->mode == GUEST_REAL)
                CHECK_VMCS_MASKED(EXIT_INTERRUPTION_INFO, HARDWARE(vector),
                                  ~(u64)EVENT_HAS_ERROR);
        else
                CHECK_EXITING_EVENT(HARDWARE_CODE(vector), 0);
        CHECK_VMCS(GUEST_RIP, rip);
}

static void access_run(const struct access *a)
{
        struct vmx_result got = access_enter(a, false);
        u8 want = a->seg == SEG_CS ? a->program->start[a->good] : target;

        if (CHECK_EXIT("the access", got, EXITS(EXIT_VMCALL)) && !a->writes)
                CHECK_EQ("the byte read", (u8)this_vmx()->vm.regs.rax, want);
        if (a->writes) {
                CHECK_EQ("the byte written", target, 0x77);
                target = 0x5a;
        }
        got = access_enter(a, true);
        CHECK_EQ("the byte is as it was", target, 0x5a);
        check_fault(a, got, a->mode == GUEST_REAL || a->seg == SEG_CS
                            ? 0 : (ulong)a->program->start);
}

/* AR_G for limits from 1 MiB on; all of them end in FFFH then. */
#define LIMIT_ROWS(mode_name, guest, seg_name, seg_, needs_)                    \
        { ROW(mode_name "." #seg_name ".byte", NULL, NULL, needs_), guest, seg_, \
          &via_##seg_name, 0x567, 0x568, 0x567, .clear = AR_G },               \
        { ROW(mode_name "." #seg_name ".page", NULL, NULL, needs_), guest, seg_, \
          &via_##seg_name, 0x12345fff, 0x12346000, 0x12345fff, .set = AR_G },  \
        { ROW(mode_name "." #seg_name ".zero", NULL, NULL, needs_), guest, seg_, \
          &via_##seg_name, 0, 1, 0, .clear = AR_G }
#define LIMIT_ROWS_REAL(seg_name, seg_)                                        \
        { ROW("real." #seg_name, NULL, NULL, UG), GUEST_REAL, seg_,            \
          &via16_##seg_name, 0x4567, 0x4568, 0x4567 }
#define LIMIT_ROWS_ALL(mode_name, guest, needs_)                               \
        LIMIT_ROWS(mode_name, guest, es, SEG_ES, needs_),                      \
        LIMIT_ROWS(mode_name, guest, ss, SEG_SS, needs_),                      \
        LIMIT_ROWS(mode_name, guest, ds, SEG_DS, needs_),                      \
        LIMIT_ROWS(mode_name, guest, fs, SEG_FS, needs_),                      \
        LIMIT_ROWS(mode_name, guest, gs, SEG_GS, needs_),                      \
        { ROW(mode_name ".cs", NULL, NULL, needs_), guest, SEG_CS, &via_cs,   \
          8, 9, 8, .clear = AR_G }

static const struct access limits[] = {
        LIMIT_ROWS_ALL("pae", GUEST_PAE, NULL),
        LIMIT_ROWS_ALL("compat", GUEST_COMPAT, "host64"),
        LIMIT_ROWS_REAL(es, SEG_ES), LIMIT_ROWS_REAL(ss, SEG_SS),
        LIMIT_ROWS_REAL(ds, SEG_DS), LIMIT_ROWS_REAL(fs, SEG_FS),
        LIMIT_ROWS_REAL(gs, SEG_GS),
};

TABLE(limit, limits, .id = "entry.load.segment.limit",
      .title = "an access at the limit reaches base + offset, one behind it faults",
      .sdm = SDM, .rules = "ENTL_SEG_LIMIT_ENFORCED ENTL_SEG_HIDDEN_FROM_VMCS")
{
        access_run(case_row(self, row));
}

static const struct access expand_down[] = {
        { ROW("ds.pae"), GUEST_PAE, SEG_DS, &via_ds, 0x568, 0x567, 0x567,
          7, .set = AR_DB, .clear = AR_G },
        { ROW("ss.pae"), GUEST_PAE, SEG_SS, &via_ss, 0x568, 0x567, 0x567,
          7, .set = AR_DB, .clear = AR_G },
        { ROW("ds.pae.top"), GUEST_PAE, SEG_DS, &via_ds, 0xffffffff, 0x567,
          0x567, 7, .set = AR_DB, .clear = AR_G },
        { ROW("ds.pae.b-0"), GUEST_PAE, SEG_DS, &via_ds, 0xffff, 0x10000,
          0x567, 7, .clear = AR_G | AR_DB },
        { ROW("ss.pae.b-0"), GUEST_PAE, SEG_SS, &via_ss, 0xffff, 0x10000,
          0x567, 7, .clear = AR_G | AR_DB },
        { ROW("ds.pae.page"), GUEST_PAE, SEG_DS, &via_ds, 0x12346000,
          0x12345fff, 0x12345fff, 7, .set = AR_DB | AR_G },
        { ROW("ds.compat", NULL, NULL, "host64"), GUEST_COMPAT, SEG_DS,
          &via_ds, 0x568, 0x567, 0x567, 7, .set = AR_DB, .clear = AR_G },
        { ROW("ss.compat", NULL, NULL, "host64"), GUEST_COMPAT, SEG_SS,
          &via_ss, 0x568, 0x567, 0x567, 7, .set = AR_DB, .clear = AR_G },
};

TABLE(expand_down_limit, expand_down, .id = "entry.load.segment.expand-down",
      .title = "an expand-down segment begins behind its limit and ends as B says",
      .sdm = SDM, .rules = "ENTL_SEG_EXPAND_DOWN")
{
        access_run(case_row(self, row));
}

#define READ_ONLY(seg_name, seg_)                                          \
        { ROW(#seg_name), GUEST_PAE, seg_, &store_##seg_name, 0x10, 0x10,  \
          0xffffffff, 3, 1, .writes = true },                                              \
        { ROW(#seg_name ".code"), GUEST_PAE, seg_, &store_##seg_name,      \
          0x10, 0x10, 0xffffffff, 3, 11, .writes = true },                                 \
        { ROW(#seg_name ".compat", NULL, NULL, "host64"), GUEST_COMPAT,    \
          seg_, &store_##seg_name, 0x10, 0x10, 0xffffffff, 3, 1, .writes = true }
static const struct access read_only[] = {
        READ_ONLY(es, SEG_ES), READ_ONLY(ds, SEG_DS),
        READ_ONLY(fs, SEG_FS), READ_ONLY(gs, SEG_GS),
};

TABLE(read_only_type, read_only, .id = "entry.load.segment.read-only",
      .title = "a segment of a type that is not writable refuses a write",
      .sdm = SDM, .rules = "ENTL_SEG_READONLY")
{
        access_run(case_row(self, row));
}

/* Code that can be read, and code that can not. */
static const struct access code_types[] = {
        { ROW("pae"), GUEST_PAE, SEG_CS, &via_cs, 2, 2, 0xffffffff, 11, 9 },
        { ROW("pae.conforming"), GUEST_PAE, SEG_CS, &via_cs, 2, 2, 0xffffffff,
          15, 13 },
        { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT, SEG_CS, &via_cs,
          2, 2, 0xffffffff, 11, 9 },
};

TABLE(code_type, code_types, .id = "entry.load.segment.execute-only",
      .title = "code of a type that is not readable refuses a read", .sdm = SDM,
      .rules = "ENTL_SEG_HIDDEN_FROM_VMCS")
{
        access_run(case_row(self, row));
}

/* The last byte of the last instruction is at the limit, or behind it. */
PROGRAM(end_of_code, 32, "nop\nvmcall\n");

static const struct access code_limits[] = {
        { ROW("pae"), GUEST_PAE }, { ROW("compat", NULL, NULL, "host64"), GUEST_COMPAT },
        { ROW("real", NULL, NULL, UG), GUEST_REAL },
};

TABLE(code_limit, code_limits, .id = "entry.load.segment.limit.fetch",
      .title = "an instruction that ends at the limit of CS runs, one that ends "
               "behind it faults", .sdm = SDM,
      .rules = "ENTL_SEG_LIMIT_ENFORCED ENTL_SEG_HIDDEN_FROM_VMCS ENTL_RIP")
{
        struct access a = *(const struct access *)case_row(self, row);

        a.seg = SEG_CS;
        a.program = &end_of_code;
        a.clear = AR_G;
        a.limit = 3;
        CHECK_EXIT("limit 3", access_enter(&a, false), EXITS(EXIT_VMCALL));
        CHECK_VMCS(GUEST_RIP, 1);
        a.limit = 2;
        check_fault(&a, access_enter(&a, false), 1);
}

/*
 * FS and GS have bases in 64-bit mode too; guests of real mode need not have
 * the bases that belong to the selectors.
 */
static const struct access bases[] = {
        { ROW("fs.long", NULL, NULL, "host64"), GUEST_LONG, SEG_FS, &via_fs },
        { ROW("gs.long", NULL, NULL, "host64"), GUEST_LONG, SEG_GS, &via_gs },
        { ROW("es.real", NULL, NULL, UG), GUEST_REAL, SEG_ES, &via16_es },
        { ROW("ss.real", NULL, NULL, UG), GUEST_REAL, SEG_SS, &via16_ss },
        { ROW("ds.real", NULL, NULL, UG), GUEST_REAL, SEG_DS, &via16_ds },
        { ROW("fs.real", NULL, NULL, UG), GUEST_REAL, SEG_FS, &via16_fs },
        { ROW("gs.real", NULL, NULL, UG), GUEST_REAL, SEG_GS, &via16_gs },
};

TABLE(base, bases, .id = "entry.load.segment.base",
      .title = "an access goes to the base of the VMCS, whatever the selector",
      .sdm = SDM, .rules = "ENTL_SEG_HIDDEN_FROM_VMCS")
{
        struct access a = *(const struct access *)case_row(self, row);

        a.limit = 0xffff;
        a.good = 0x1234;
        CHECK_EXIT("the access", access_enter(&a, false), EXITS(EXIT_VMCALL));
        CHECK_EQ("the byte read", (u8)this_vmx()->vm.regs.rax, target);
}

/*
 * 16-bit code: mov $0x9090, %ax; mov %ax, %ax; dec %ax; nop
 * 32-bit code: mov $0xc0899090, %eax; dec %eax; nop
 * 64-bit code: mov $0xc0899090, %eax; rex.W nop
 */
PROGRAM(sizes, 32, ".byte 0xb8, 0x90, 0x90, 0x89, 0xc0, 0x48, 0x90\nvmcall\n");
#define IN_16 0x1111908fu
#define IN_32 0xc089908fu
#define IN_64 0xc0899090u

struct size_row {
        struct row head;
        enum guest_mode mode;
        u32 bits;            /* L and D/B */
        u32 eax;
};

#define CS_IA32E "ENTL_CS_MODE_BITS"
#define CS_LEGACY "ENTL_CS_D_LEGACY"
static const struct size_row size_rows[] = {
        { ROW("ia-32e.l", NULL, CS_IA32E, "host64"), GUEST_LONG, AR_L, IN_64 },
        { ROW("ia-32e.d", NULL, CS_IA32E, "host64"), GUEST_COMPAT, AR_DB, IN_32 },
        { ROW("ia-32e.none", NULL, CS_IA32E, "host64"), GUEST_COMPAT, 0, IN_16 },
        { ROW("pae.d", NULL, CS_LEGACY), GUEST_PAE, AR_DB, IN_32 },
        { ROW("pae.none", NULL, CS_LEGACY), GUEST_PAE, 0, IN_16 },
        { ROW("real.d", NULL, CS_LEGACY, UG), GUEST_REAL, AR_DB, IN_32 },
        { ROW("real.none", NULL, CS_LEGACY, UG), GUEST_REAL, 0, IN_16 },
};

TABLE(code_size, size_rows, .id = "entry.load.segment.cs-size",
      .title = "L and D/B of CS tell how the first instruction is decoded",
      .sdm = SDM)
{
        const struct size_row *r = case_row(self, row);
        struct vm *vm = vm_begin(r->mode);

        vm_program(vm, sizes);
        if (r->mode != GUEST_LONG) {
                vmwrite(SEG_BASE(SEG_CS), vm->entry_rip);
                vmwrite(VMCS_GUEST_RIP, 0);
        }
        vm_control(SEG_RIGHTS(SEG_CS), 0, AR_L | AR_DB);
        vm_control(SEG_RIGHTS(SEG_CS), r->bits, 0);
        vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
        vm->regs.rax = 0x11111111;
        vm_poison(0);
        CHECK_EXIT("the guest", vm_enter(vm), EXITS(EXIT_VMCALL));
        CHECK_EQ("EAX", (u32)vm->regs.rax, r->eax);
}
