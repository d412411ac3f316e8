/*
 * SDM Vol. 3, Appendix A, VMX Capability Reporting Facility > Basic VMX
 * Information: IA32_VMX_BASIC, field by field, and what it promises. Bits 30:0:
 * vmptrld.c and vmxon.c; bit 49: capability_msrs.c.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/probe.h"
#include "x86/vmx/raw.h"

#define SDM "VMX Capability Reporting Facility > Basic VMX Information"

static u64 basic(void)
{
        return vmx_caps()->basic;
}

CASE(bit_31, .id = "capability.basic.bit31", .sdm = SDM,
     .title = "bit 31 is 0", .rules = "CAP_BASIC_BIT31_ZERO")
{
        CHECK_MASKED("IA32_VMX_BASIC", basic(), 0, BIT(31));
}

CASE(region_size, .id = "capability.basic.region-size", .sdm = SDM,
     .title = "a region has 1 to 4096 bytes; bit 44 is 1 for 4096 only",
     .rules = "CAP_BASIC_REGION_SIZE CAP_BASIC_REGION_SIZE_BIT44")
{
        u64 size = vmx_cap(basic, REGION_SIZE);

        CHECK("bytes of a region", size > 0 && size <= 4096, "%u bytes",
              (unsigned)size);
        CHECK_EQ("bit 44", size >> 12, !(size & 0xfff));
}

CASE(reserved, .id = "capability.basic.reserved", .sdm = SDM,
     .title = "bits 47:45, 57 and 63:59 are 0",
     .rules = "CAP_BASIC_RESERVED_47_45 CAP_BASIC_RESERVED_63_57")
{
        CHECK_MASKED("IA32_VMX_BASIC", basic(), 0,
                     BITS(47, 45) | BIT(57) | BITS(63, 59));
}

CASE(addresses, .id = "capability.basic.address-width", .sdm = SDM,
     .title = "bit 48 is 0 on a processor with Intel 64 architecture",
     .needs = "intel64", .rules = "CAP_BASIC_BIT48_PAWIDTH")
{
        CHECK_MASKED("IA32_VMX_BASIC", basic(), 0, CAP_ADDRESSES_32BIT);
}

CASE(memory_type, .id = "capability.basic.memory-type", .sdm = SDM,
     .title = "the memory type is uncacheable or write-back",
     .rules = "CAP_BASIC_MEMTYPE")
{
        u64 type = vmx_cap(basic, MEMORY_TYPE);

        CHECK("memory type", type == 0 || type == 6, "%u", (unsigned)type);
}

/* SDM, Reserved Controls and Default Settings. */
#define PIN_DEFAULT1 0x00000016u
#define PRIMARY_DEFAULT1 0x0401e172u
#define EXIT_DEFAULT1 0x00036dffu
#define ENTRY_DEFAULT1 0x000011ffu

CASE(true_controls, .id = "capability.basic.true-controls", .sdm = SDM,
     .title = "bit 55 = 1: some default1 control can be 0",
     .needs = "true-controls", .rules = "CAP_BASIC_BIT55_MEANING")
{
        const struct vmx_caps *c = vmx_caps();

        CHECK("a default1 control that can be 0",
              ~c->true_pinbased & PIN_DEFAULT1 ||
              ~c->true_procbased & PRIMARY_DEFAULT1 ||
              ~c->true_exit & EXIT_DEFAULT1 ||
              ~c->true_entry & ENTRY_DEFAULT1, "there is none");
}

CASE(fred, .id = "capability.basic.fred", .sdm = SDM, .needs = "fred",
     .title = "FRED comes with optional error codes (bit 56)",
     .rules = "CAP_FRED_IMPLIES_BASIC56")
{
        CHECK_MASKED("IA32_VMX_BASIC", basic(), ~0ull, CAP_ERROR_CODE_OPTIONAL);
}

static void read_basic(void *value)
{
        *(u64 *)value = rdmsr(MSR_IA32_VMX_BASIC);
}

CASE(processors, .id = "capability.basic.processors", .sdm = SDM,
     .title = "processors of one revision identifier have one region size",
     .needs = "cpus-2", .rules = "CAP_BASIC_SAME_ON_ALL_CPUS")
{
        for (unsigned cpu = 1; cpu < cpus_online(); cpu++) {
                u64 value = 0;

                if (!cpu_run(cpu, read_basic, &value) ||
                    !cpu_wait(cpu, CPU_SPINS)) {
                        case_error("processor %u does not answer", cpu);
                        return;
                }
                if ((value & CAP_REVISION) != vmx_cap(basic, REVISION)) {
                        case_skip("processors of several revision identifiers");
                        return;
                }
                CHECK_MASKED("IA32_VMX_BASIC of another processor", value,
                             basic(), CAP_REGION_SIZE);
        }
}

struct string_row {
        struct row head;
        u8 size, bytes[3];
        bool wide, outs;
        u8 segment;       /* as bits 17:15 have it */
};

/*
 * INS and OUTS of a byte, with the prefixes that the information tells. What it
 * says of those that 64-bit mode ignores is open.
 */
static const struct string_row string_rows[] = {
        { ROW("ins", "INSB"), 1, { 0x6c }, true, false, 0 },
        { ROW("ins-short", "INSB, the shorter address size"), 2,
          { 0x67, 0x6c }, false, false, 0 },
        { ROW("outs", "OUTSB"), 1, { 0x6e }, true, true, 3 },
        { ROW("outs-short", "OUTSB, the shorter address size"), 2,
          { 0x67, 0x6e }, false, true, 3 },
        { ROW("outs-es", "OUTSB, ES", NULL, "host32"), 2,
          { 0x26, 0x6e }, true, true, 0 },
        { ROW("outs-cs", "OUTSB, CS", NULL, "host32"), 2,
          { 0x2e, 0x6e }, true, true, 1 },
        { ROW("outs-ss", "OUTSB, SS", NULL, "host32"), 2,
          { 0x36, 0x6e }, true, true, 2 },
        { ROW("outs-fs", "OUTSB, FS"), 2, { 0x64, 0x6e }, true, true, 4 },
        { ROW("outs-gs", "OUTSB, GS"), 2, { 0x65, 0x6e }, true, true, 5 },
};

TABLE(strings, string_rows, .id = "capability.basic.ins-outs", .sdm = SDM,
      .title = "bit 54 = 1: the instruction information of INS and OUTS",
      .needs = "ins-outs-info unconditional-io-exiting",
      .rules = "CAP_BASIC_BIT54_INSOUTS")
{
        const struct string_row *r = case_row(self, row);
        u64 size = (sizeof(ulong) == 8) + r->wide;
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct code code = { 0 };

        vm_control(VMCS_PRIMARY_CONTROLS, CTL_PRIMARY_UNCONDITIONAL_IO_EXITING, 0);
        code_add(&code, r->bytes, r->size);
        vm->regs.rdx = 0x80;
        /* RSI and RDI: low addresses, whatever their size. */
        vm->regs.rsi = vm->regs.rdi = 0x500;
        CHECK_RESULT("the instruction", raw_guest(vm, &code, 0),
                     EXITS(EXIT_IO_INSTRUCTION));
        CHECK_MASKED("address size", vmread(VMCS_EXIT_INSTRUCTION_INFO),
                     size << 7, BITS(9, 7));
        if (r->outs)
                CHECK_MASKED("segment", vmread(VMCS_EXIT_INSTRUCTION_INFO),
                             (u64)r->segment << 15, BITS(17, 15));
}

/* Hardware exceptions, valid; bit 11: with an error code, bit 13: nested. */
#define INJECT(vector, more) (0x80000300u | (vector) | (more))
#define WITH_CODE 0x800u
#define NESTED 0x2000u
#define INJECTING(value) EDITS(SET(ENTRY_INTERRUPTION_INFO, value))

static const struct probe inject_probes[] = {
        { ROW("error-code.required", "bit 56 = 0: #GP needs an error code",
              "CAP_BASIC_BIT56_ERRCODE", "!error-code-optional"),
          .accept = INJECTING(INJECT(VEC_GP, WITH_CODE)),
          .reject = INJECTING(INJECT(VEC_GP, 0)), .outcome = BAD_CONTROLS },
        { ROW("error-code.forbidden", "bit 56 = 0: #UD must have no error code",
              "CAP_BASIC_BIT56_ERRCODE", "!error-code-optional"),
          .accept = INJECTING(INJECT(VEC_UD, 0)),
          .reject = INJECTING(INJECT(VEC_UD, WITH_CODE)),
          .outcome = BAD_CONTROLS },
        { ROW("nested.unsupported", "bit 58 = 0: bit 13 is reserved",
              "CAP_BASIC_BIT58_NESTED_EXC", "!nested-exception"),
          .accept = INJECTING(INJECT(VEC_UD, 0)),
          .reject = INJECTING(INJECT(VEC_UD, NESTED)), .outcome = BAD_CONTROLS },
        { ROW("nested.interrupt",
              "bit 58 = 1: bit 13 is for hardware exceptions only",
              "CAP_BASIC_BIT58_NESTED_EXC", "nested-exception"),
          .given = EDITS(OR(GUEST_RFLAGS, RFLAGS_IF)),
          .accept = INJECTING(INJECT(VEC_GP, WITH_CODE | NESTED)),
          .reject = INJECTING(0x80000000u | 0x80 | NESTED),
          .outcome = BAD_CONTROLS },
};

PROBES(inject, inject_probes, .id = "capability.basic.inject", .sdm = SDM,
       .title = "what VM entry can inject")

struct optional_row {
        struct row head;
        u32 info;
};

static const struct optional_row optional_rows[] = {
        { ROW("gp", "#GP without an error code"), INJECT(VEC_GP, 0) },
        { ROW("ud", "#UD with an error code"), INJECT(VEC_UD, WITH_CODE) },
};

TABLE(optional, optional_rows, .id = "capability.basic.inject.error-code.optional",
      .sdm = SDM, .title = "bit 56 = 1: delivered as VM entry says",
      .rules = "CAP_BASIC_BIT56_ERRCODE", .needs = "error-code-optional")
{
        const struct optional_row *r = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct guest_event event;

        vmwrite(VMCS_ENTRY_INTERRUPTION_INFO, r->info);
        vmwrite(VMCS_ENTRY_EXCEPTION_ERROR_CODE, 0x1230);
        vm_poison(0);
        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
        if (!CHECK("event", vm_event(vm, &event), "none was delivered"))
                return;
        CHECK_EQ("vector", event.vector, r->info & 0xff);
        CHECK_EQ("error code on the stack", event.has_error,
                 !!(r->info & WITH_CODE));
        if (event.has_error)
                CHECK_EQ("error code", event.error, 0x1230);
}

/* Where addresses have 32 bits: VMCLEAR, VMPTRLD and VMXON have cases of their own. */
static const struct probe address_probes[] = {
        { ROW("entry", "VM entry refuses a structure above 4 GBytes"),
          .given = EDITS(OR(PRIMARY_CONTROLS, CTL_PRIMARY_USE_IO_BITMAPS)),
          .accept = EDITS(SET(IO_BITMAP_A, 0)),
          .reject = EDITS(SET(IO_BITMAP_A, BIT(32))), .outcome = BAD_CONTROLS },
};

PROBES(address, address_probes, .id = "capability.basic.address-32", .sdm = SDM,
       .title = "bit 48 = 1", .rules = "CAP_BASIC_BIT48_EFFECT",
       .needs = "vmx-addresses-32bit use-io-bitmaps")
