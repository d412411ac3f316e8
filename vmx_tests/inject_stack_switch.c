/*
 * SDM Vol. 3, VM Entries > VM Exits During Event Injection: stacks that delivery
 * of an injected event can not switch to or push on, by stack segment, TSS and
 * IST. That ends in #SS or #TS (SDM Vol. 2, INT n/INTO/INT3/INT1, Operation).
 */
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/event.h"

#define SDM "VM Entries > VM Exits During Event Injection"

#define VECTOR 0x30
#define IST1 0x24             /* in the 64-bit TSS; RSP0 and ESP0 are at 4 */

enum trouble {
        ESP_LIMIT,            /* the last byte of 12 does not fit */
        TSS_ENDS,             /* before the last byte of the stack pointer */
        IST_TSS_ENDS,
        RSP0_NOT_CANONICAL,
        IST_NOT_CANONICAL,
        SS0_NULL,
        SS0_RPL,
        SS0_BEYOND,
        SS0_CODE,
        SS0_DPL,
        SS0_ABSENT,
        SS0_LIMIT,            /* the last byte of 20 does not fit */
};

#define SEL_BEYOND (SEL_SPARE + DESC_SPARE * 8)

static const struct stack_row {
        struct row head;
        enum guest_mode mode;
        u8 trouble;
        bool user;
        u8 vector;
        u16 error;
} rows[] = {
        { ROW("limit", "ESP beyond the limit of SS"), GUEST_PAE, ESP_LIMIT, false,
          VEC_SS, 0 },
        { ROW("tss-limit", "RSP0 beyond the limit of the TSS", NULL, "host64"),
          GUEST_LONG, TSS_ENDS, true, VEC_TS, SEL_TSS },
        { ROW("tss-limit.32-bit", "SS0 beyond the limit of the TSS"), GUEST_PAE,
          TSS_ENDS, true, VEC_TS, SEL_TSS },
        { ROW("tss-limit.ist", "IST1 beyond the limit of the TSS", NULL, "host64"),
          GUEST_LONG, IST_TSS_ENDS, false, VEC_TS, SEL_TSS },
        { ROW("rsp0", "RSP0 is not canonical", NULL, "host64"), GUEST_LONG,
          RSP0_NOT_CANONICAL, true, VEC_SS, 0 },
        { ROW("ist", "IST1 is not canonical", NULL, "host64"), GUEST_LONG,
          IST_NOT_CANONICAL, false, VEC_SS, 0 },
        { ROW("ss0.null", "SS0 is null"), GUEST_PAE, SS0_NULL, true, VEC_TS, 0 },
        { ROW("ss0.rpl", "SS0 has RPL 3"), GUEST_PAE, SS0_RPL, true, VEC_TS,
          SEL_USER_DATA & ~3u },
        { ROW("ss0.beyond", "SS0 is beyond the GDT"), GUEST_PAE, SS0_BEYOND, true,
          VEC_TS, SEL_BEYOND },
        { ROW("ss0.code", "SS0 is of a code segment"), GUEST_PAE, SS0_CODE, true,
          VEC_TS, SEL_CODE32 },
        { ROW("ss0.dpl", "SS0's segment has DPL 3"), GUEST_PAE, SS0_DPL, true,
          VEC_TS, SEL_SPARE },
        { ROW("ss0.not-present", "SS0's segment is not present"), GUEST_PAE,
          SS0_ABSENT, true, VEC_SS, SEL_SPARE },
        { ROW("ss0.limit", "ESP0 beyond the limit of SS0"), GUEST_PAE, SS0_LIMIT,
          true, VEC_SS, SEL_SPARE },
};

static void set_ss0(const struct vm_tables *t, u16 selector)
{
        memcpy(t->tss + 8, &selector, sizeof(selector));
}

/* SS0 is a segment of the case's own. */
static void set_spare(const struct vm_tables *t, ulong base, u32 limit, u64 rights)
{
        t->gdt[SEL_SPARE / 8] = desc_make((u32)base, limit,
                                          DESC_TYPE(3) | DESC_S | DESC_DB | rights);
        set_ss0(t, SEL_SPARE);
}

static void set_word(u8 *at, u64 value, unsigned size)
{
        memcpy(at, &value, size);
}

/* The stack of @trouble, @bad or the one next to it that does. */
static void prepare(const struct vm_tables *t, enum trouble trouble, bool bad)
{
        ulong page = (ulong)page_alloc(1);
        u64 top = bad ? BIT(62) : page + PAGE_SIZE;

        switch (trouble) {
        case ESP_LIMIT:
                vmwrite(VMCS_GUEST_SS_BASE, page);
                vmwrite(VMCS_GUEST_SS_LIMIT, PAGE_SIZE - 1 - bad);
                vm_control(VMCS_GUEST_SS_ACCESS_RIGHTS, 0, 1u << 15);
                vmwrite(VMCS_GUEST_RSP, PAGE_SIZE);
                break;
        case TSS_ENDS:
                if (bad)
                        vmwrite(VMCS_GUEST_TR_LIMIT, t->gate_size == 16 ? 10 : 8);
                break;
        case IST_TSS_ENDS:
        case IST_NOT_CANONICAL:
                vm_gate(t, VECTOR)[GATE_IST] = 1;
                if (bad && trouble == IST_TSS_ENDS) {
                        vmwrite(VMCS_GUEST_TR_LIMIT, IST1 + 6);
                        top = page + PAGE_SIZE;
                }
                set_word(t->tss + IST1, top, 8);
                break;
        case RSP0_NOT_CANONICAL:
                set_word(t->tss + 4, top, 8);
                break;
        case SS0_NULL:
        case SS0_RPL:
        case SS0_BEYOND:
        case SS0_CODE:
                set_ss0(t, !bad ? SEL_DATA :
                           trouble == SS0_NULL ? 0 :
                           trouble == SS0_RPL ? SEL_USER_DATA :
                           trouble == SS0_BEYOND ? SEL_BEYOND : SEL_CODE32);
                break;
        case SS0_DPL:
                set_spare(t, 0, 0xfffff, DESC_G | DESC_P | DESC_DPL(bad ? 3 : 0));
                break;
        case SS0_ABSENT:
                set_spare(t, 0, 0xfffff, DESC_G | (bad ? 0 : DESC_P));
                break;
        case SS0_LIMIT:
                set_spare(t, page, PAGE_SIZE - 1 - bad, DESC_P);
                set_word(t->tss + 4, PAGE_SIZE, 4);
                break;
        }
}

/* EXT is 1 for the interrupt and 0 for INT n. */
TABLE(stacks, rows, .id = "inject.exit.stack",
      .title = "a stack that can not be used for the frame: #SS or #TS exits",
      .sdm = SDM,
      .rules = "INJ_NESTED_STACK INJ_PRIVILEGE_CHANGE INJ_NESTED_EXT_SET "
               "INJ_NESTED_EXT_CLEAR INJ_EXIT_NESTED_EXIT_BASIC")
{
        static const u32 infos[] = { EXTERNAL(VECTOR), INT_N(VECTOR) };
        const struct stack_row *s = &rows[row];

        for (unsigned i = 0; i < 2 * ARRAY_LEN(infos); i++) {
                u32 info = infos[i / 2], ext = i / 2 == 0;
                bool bad = i % 2;
                struct vm *vm = vm_begin(s->mode);
                struct vm_tables t = vm_tables(vm);
                u64 rip = vmread(VMCS_GUEST_RIP), rsp, cs;

                if (s->user)
                        vm_user(vm);
                vm_gate(&t, VECTOR)[GATE_RIGHTS] |= GATE_DPL(3);
                prepare(&t, (enum trouble)s->trouble, bad);
                vmwrite(VMCS_EXCEPTION_BITMAP, BIT(VEC_SS) | BIT(VEC_TS));
                vm_inject(info, 0, 2);
                rsp = vmread(VMCS_GUEST_RSP);
                cs = vmread(VMCS_GUEST_CS_SELECTOR);
                vm_poison(0);
                if (!bad) {
                        CHECK_EXIT("usable", vm_enter(vm), EXITS(EXIT_VMCALL));
                        CHECK_VMCS(GUEST_RIP, vm_handler(vm, VECTOR));
                        continue;
                }
                CHECK_EXIT("not usable", vm_enter(vm),
                           EXITS_WITH(EXIT_EXCEPTION_NMI, 0));
                CHECK_EXITING_EVENT(HARDWARE_CODE(s->vector), s->error | ext);
                CHECK_ORIGINAL_EVENT(info, 0);
                CHECK_VMCS(GUEST_RIP, rip);
                CHECK_VMCS(GUEST_RSP, rsp);
                CHECK_VMCS(GUEST_CS_SELECTOR, cs);
        }
}
