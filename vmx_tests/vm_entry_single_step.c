/*
 * SDM Vol. 3, VM Entries, introduction: RFLAGS.TF = 1 before a VMX instruction.
 * It traps if control goes on behind the instruction, and only then.
 */
#include "lib/check.h"
#include "x86/memory.h"
#include "x86/msr.h"
#include "x86/paging.h"
#include "x86/vmx/entry_code.h"
#include "x86/vmx/probe.h"

#define SDM "VM Entries > introduction"

#ifdef __x86_64__
#define SP "%rsp"
#define CX "%rcx"
#define DX "%rdx"
#else
#define SP "%esp"
#define CX "%ecx"
#define DX "%edx"
#endif

/* POPF takes effect after the instruction behind it. */
#define WITH_TF "pushf\norl $0x100, (" SP ")\npopf\n"
#define STEPPED(name, before, instruction)                                 \
        ENTRY_CODE(name, before WITH_TF instruction "\n" #name "_next:");  \
        extern const u8 name##_next[]

STEPPED(read_field, "mov $0x681e, %ecx\n", "vmread " CX ", " DX);
STEPPED(read_nothing, "mov $0x6bfe, %ecx\n", "vmread " CX ", " DX);
STEPPED(read_to_nowhere, "mov $0x681e, %ecx\nmov $0x7ffff000, %edx\n",
        "vmread " CX ", (" DX ")");
STEPPED(launch, "", "vmlaunch");
STEPPED(resume, "", "vmresume");
#define NOWHERE 0x7ffff000u

static struct {
        unsigned count;
        ulong rip, dr6;
} traps;

static void count_trap(struct trap_frame *frame)
{
        traps.count++;
        traps.rip = frame->rip;
        traps.dr6 = read_dr6();
        frame->rflags &= ~(ulong)RFLAGS_TF;
}

struct stepped {
        struct row head;
        ulong (*code)(void);
        const u8 *next;             /* NULL: no trap */
        bool launched;
        const struct edit *edits;
        void (*prepare)(void);
        struct vmx_result outcome;
};

/* An MSR that VM entry does not load from its area. */
static void bad_msr(void)
{
        struct { u32 msr, reserved; u64 value; } *area = page_alloc(1);

        area->msr = MSR_IA32_FS_BASE;
        vmwrite(VMCS_ENTRY_MSR_LOAD_ADDRESS, phys(area));
        vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 1);
}

static void unmap(void)
{
        paging_set((void *)(ulong)NOWHERE, 0);
}

#define BAD_PIN EDITS(SET(PIN_CONTROLS, 0xffffffff))
#define BAD_CS EDITS(SET(HOST_CS_SELECTOR, 0))
#define BAD_FLAGS EDITS(SET(GUEST_RFLAGS, 0))

static const struct stepped stepped[] = {
        { ROW("vmread", "VMsucceed: a trap", NULL, NULL),
          .code = read_field, .next = read_field_next, .outcome = SUCCEED },
        { ROW("vmread-fails", "VMfail: a trap", NULL, NULL),
          .code = read_nothing, .next = read_nothing_next,
          .outcome = FAIL_VALID(VMERR_UNSUPPORTED_FIELD) },
        { ROW("vmread-faults", "a fault: no trap", NULL, NULL),
          .code = read_to_nowhere, .prepare = unmap,
          .outcome = FAULT_CODE(VEC_PF, PF_W) },
        { ROW("launch-controls", "VMLAUNCH with error 7: a trap", NULL, NULL),
          .code = launch, .next = launch_next, .edits = BAD_PIN,
          .outcome = BAD_CONTROLS },
        { ROW("launch-host", "VMLAUNCH with error 8: a trap", NULL, NULL),
          .code = launch, .next = launch_next, .edits = BAD_CS, .outcome = BAD_HOST },
        { ROW("resume-controls", "VMRESUME with error 7: a trap", NULL, NULL),
          .code = resume, .next = resume_next, .launched = true, .edits = BAD_PIN,
          .outcome = BAD_CONTROLS },
        { ROW("resume-clear", "VMRESUME with error 5: a trap", NULL, NULL),
          .code = resume, .next = resume_next,
          .outcome = FAIL_VALID(VMERR_VMRESUME_NOT_LAUNCHED) },
        { ROW("launch", "VMLAUNCH that enters: no trap", "ENTL_HOST_TF_NO_STEP", NULL),
          .code = launch, .outcome = EXITS(EXIT_VMCALL) },
        { ROW("resume", "VMRESUME that enters: no trap", "ENTL_HOST_TF_NO_STEP", NULL),
          .code = resume, .launched = true, .outcome = EXITS(EXIT_VMCALL) },
        { ROW("launch-guest", "VMLAUNCH with a wrong guest state: no trap",
              "ENTG_FAIL_NO_SINGLE_STEP", NULL),
          .code = launch, .edits = BAD_FLAGS, .outcome = BAD_GUEST },
        { ROW("launch-msr", "VMLAUNCH that fails to load an MSR: no trap",
              "ENTG_FAIL_NO_SINGLE_STEP", NULL),
          .code = launch, .prepare = bad_msr,
          .outcome = ENTRY_FAILS(EXIT_ENTRY_FAILURE_MSR_LOADING, 1) },
};

struct call {
        ulong (*code)(void);
        struct vmx_result result;
};

static void call(void *arg)
{
        struct call *c = arg;

        c->result = entry_code_run(c->code);
}

TABLE(single_step, stepped, .id = "entry.single-step",
      .title = "RFLAGS.TF = 1 before a VMX instruction", .sdm = SDM,
      .rules = "INS_TF_AFTER_VMFAIL")
{
        const struct stepped *s = case_row(self, row);
        struct vm *vm = vm_begin(GUEST_NATIVE);
        struct call c = { .code = s->code };
        struct trap t;

        if (s->launched)
                CHECK_RESULT("VMLAUNCH before", vm_launch(vm), EXITS(EXIT_VMCALL));
        vmcs_edit(s->edits);
        vm_poison(s->outcome.kind == VMX_FAIL_VALID ? s->outcome.code : 0);
        if (s->prepare)
                s->prepare();
        traps.count = 0;
        write_dr6(DR6_INIT);
        irq_set(VEC_DB, count_trap);
        if (trap_call(call, &c, &t))
                c.result = (struct vmx_result){
                        .kind = VMX_EXCEPTION, .vector = t.vector,
                        .has_code = t.has_error, .code = t.error };
        irq_set(VEC_DB, NULL);
        write_dr6(DR6_INIT);
        check_result(__FILE__, (int)self->line, "the instruction", c.result, s->outcome);
        CHECK_EQ("debug exceptions", traps.count, s->next ? 1 : 0);
        if (s->next && traps.count) {
                CHECK_EQ("RIP of the trap", traps.rip, (ulong)s->next);
                CHECK_EQ("DR6.BS", !!(traps.dr6 & DR6_BS), 1);
        }
}
