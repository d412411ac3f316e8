#include "x86/vmx/guest.h"
#include "lib/check.h"
#include "lib/report.h"
#include "lib/string.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/session.h"

/* x86/vmx/enter.S */
ulong vm_enter_asm(struct guest_regs *regs, ulong resume);

PROGRAM(program_vmcall_code, NATIVE_BITS, "vmcall\n");
const struct program program_vmcall = { program_vmcall_code_start,
                                        program_vmcall_code_end };

/* Unlike each other and unlike anything that a guest would compute. */
static void poison_registers(struct guest_regs *regs)
{
        ulong *r = (ulong *)regs;

        for (unsigned i = 0; i < sizeof(*regs) / sizeof(ulong); i++)
                r[i] = (ulong)0x1badb10500000000ull + 0xb105000u + i * 0x101u;
}

static bool succeeded(const char *what, struct vmx_result r)
{
        return CHECK_RESULT(what, r, SUCCEED);
}

void vm_load(struct vm *vm)
{
        succeeded("VMPTRLD of a valid VMCS", vmptrld(&vm->pointer));
}

void vm_clear(struct vm *vm)
{
        succeeded("VMCLEAR of a valid VMCS", vmclear(&vm->pointer));
        vm->launched = false;
        vm_load(vm);
}

static void vm_start(struct vm *vm, enum guest_mode mode)
{
        poison_registers(&vm->regs);
        vm_clear(vm);
        vm_baseline(vm, mode);
}

#ifdef __x86_64__
#define R "%r"
#else
#define R "%e"
#endif
PROGRAM(touch_code, NATIVE_BITS, "1: movb (" R "di), %al\n"
                                 "add $4096, " R "di\n"
                                 "cmp " R "si, " R "di\n"
                                 "jb 1b\n");

PROGRAM(touch_low, 16, "1: movw %di, %ds\n"
                       "movb 0, %al\n"
                       "add $256, %di\n"
                       "cmp %si, %di\n"
                       "jb 1b\n");

/* Pages that cases allocate. */
#define TOUCH_AHEAD 32

static void touch(struct vm *vm, struct program program, ulong from, ulong to)
{
        vm_program(vm, program);
        vm->regs.rdi = from;
        vm->regs.rsi = to;
        if (!result_matches(vm_enter(vm), RESULT(EXITS(EXIT_VMCALL))))
                case_error("a guest that only reads memory does not come to its end");
}

/*
 * A hypervisor maps a guest's memory at its first use, by exits of its own that
 * nobody here sees. What it and the processor below do wrong then would be in
 * the verdict on whichever case is the first of a boot to deliver an event. So
 * the boot's first guest does nothing but read all that guests use.
 */
static void touch_memory(struct vm *vm, enum guest_mode mode)
{
        static bool done, done_real;
        extern const u8 image_start[];
        u64 next = memory_mark();
        u32 high = (u32)next + TOUCH_AHEAD * PAGE_SIZE;
        u32 low = (u32)(next >> 32) + TOUCH_AHEAD * PAGE_SIZE;

        if (!done) {
                done = true;
                vm_start(vm, GUEST_NATIVE);
                touch(vm, touch_code, 0, low);
                touch(vm, touch_code, (ulong)image_start, high);
        }
        /* By EPT, which unrestricted guests have. */
        if (mode == GUEST_REAL && !done_real) {
                done_real = true;
                vm_start(vm, mode);
                touch(vm, touch_low, 0, low / 16);
        }
}

struct vm *vm_begin(enum guest_mode mode)
{
        struct vm *vm;

        vmx_on();
        vm = &this_vmx()->vm;
        touch_memory(vm, mode);
        vm_start(vm, mode);
        return vm;
}

struct vm *vm_new(enum guest_mode mode)
{
        struct vm *vm = page_alloc(1);

        vmx_on();
        vm->region = vmcs_region_new();
        vm->pointer = phys(vm->region);
        vm_start(vm, mode);
        return vm;
}

void vm_program(struct vm *vm, struct program program)
{
        const struct guest_env *env = guest_env();
        size_t size = (size_t)(program.end - program.start);
        ulong rip = (ulong)program.start;

        vm->entry_rip = rip;
        if (vm->mode == GUEST_REAL || vm->mode == GUEST_V86) {
                /* With the VMCALL that stands behind every program. */
                memcpy(env->low_code, program.start, size + 3);
                vm->entry_rip = (ulong)env->low_code;
                rip = 0;
        }
        vmwrite(VMCS_GUEST_RIP, rip);
}

static struct vmx_result enter(struct vm *vm, bool resume)
{
        struct vmx_result r = { .kind = VMX_EXIT, .has_info = true };
        ulong flags;

        trap_clear();
        flags = vm_enter_asm(&vm->regs, resume);
        if (flags)
                return vmx_result_of(flags);
        r.code = (u32)vmread(VMCS_EXIT_REASON);
        r.info = vmread(VMCS_EXIT_QUALIFICATION);
        if (!resume && !(r.code & EXIT_ENTRY_FAILURE))
                vm->launched = true;
        return r;
}

struct vmx_result vm_launch(struct vm *vm)
{
        return enter(vm, false);
}

struct vmx_result vm_resume(struct vm *vm)
{
        return enter(vm, true);
}

struct vmx_result vm_enter(struct vm *vm)
{
        return enter(vm, vm->launched);
}

bool vm_can_poison_exit(void)
{
        return vmx_caps()->misc & CAP_WRITE_READ_ONLY;
}

/*
 * VMREAD of an encoding that no processor has sets error 12; VMPTRLD of a
 * misaligned pointer 9.
 */
void vm_poison(u32 expected_error)
{
        static const u64 misaligned = 0x801;
        struct vmx_result r;
        ulong value = 0;

        if (expected_error == VMERR_UNSUPPORTED_FIELD)
                r = vmptrld(&misaligned);
        else
                r = vmread_raw(0x6bfe, &value);
        if (r.kind != VMX_FAIL_VALID || r.code == expected_error)
                case_error("the VM-instruction error can not be poisoned");
        if (!vm_can_poison_exit())
                return;
        vmwrite(VMCS_EXIT_REASON, POISON_REASON);
        vmwrite(VMCS_EXIT_QUALIFICATION, POISON);
        vmwrite(VMCS_EXIT_INTERRUPTION_INFO, POISON_EVENT);
        vmwrite(VMCS_EXIT_INTERRUPTION_ERROR_CODE, POISON);
        vmwrite(VMCS_IDT_VECTORING_INFO, POISON_EVENT);
        vmwrite(VMCS_IDT_VECTORING_ERROR_CODE, POISON);
        vmwrite(VMCS_EXIT_INSTRUCTION_LENGTH, POISON);
        vmwrite(VMCS_EXIT_INSTRUCTION_INFO, POISON);
        vmwrite(VMCS_GUEST_LINEAR_ADDRESS, POISON);
        if (vmcs_has(VMCS_GUEST_PHYSICAL_ADDRESS))
                vmwrite(VMCS_GUEST_PHYSICAL_ADDRESS, POISON);
}

void vm_skip(void)
{
        vmwrite(VMCS_GUEST_RIP, vmread(VMCS_GUEST_RIP) +
                                vmread(VMCS_EXIT_INSTRUCTION_LENGTH));
}

void vm_control(u32 field, u64 set, u64 clear)
{
        vmwrite(field, (vmread(field) | set) & ~clear);
}

void vm_report_exit(void)
{
        static const u32 fields[] = {
                VMCS_EXIT_REASON, VMCS_EXIT_QUALIFICATION, VMCS_GUEST_RIP,
                VMCS_EXIT_INSTRUCTION_LENGTH, VMCS_EXIT_INTERRUPTION_INFO,
                VMCS_EXIT_INTERRUPTION_ERROR_CODE, VMCS_IDT_VECTORING_INFO,
                VMCS_GUEST_LINEAR_ADDRESS, VMCS_GUEST_PHYSICAL_ADDRESS,
        };
        char buf[200];

        for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
                struct text t = TEXT(buf);

                if (!vmcs_has(fields[i]))
                        continue;
                text_add(&t, "%s = ", vmcs_field_name(fields[i]));
                field_value_text(&t, fields[i], vmread(fields[i]));
                report_detail("exit", "%s", buf);
        }
}
