/* What `make bench` measures: the way to the first case, and many small ones. */
#include "lib/check.h"
#include "lib/report.h"
#include "x86/cpu.h"
#include "x86/vmx/probe.h"

static void note_tsc(void)
{
        report_detail("note", "tsc %llu", (unsigned long long)rdtsc());
        CHECK_EQ("one", 1, 1);
}

CASE(first, .id = "bench.first", .title = "the time-stamp counter at the first case",
     .sdm = "", .rules = "", .needs = "any")
{
        note_tsc();
}

FAMILY(enter, 4000, .id = "bench.enter", .title = "enters a guest once",
       .sdm = "", .rules = "")
{
        struct vm *vm = vm_begin(GUEST_NATIVE);

        CHECK_RESULT("VM entry", vm_enter(vm), EXITS(EXIT_VMCALL));
}

CASE(second, .id = "bench.second", .title = "the time-stamp counter after bench.enter",
     .sdm = "", .rules = "", .needs = "any")
{
        note_tsc();
}

FAMILY(probe, 4000, .id = "bench.probe", .title = "enters a guest, and is refused once",
       .sdm = "", .rules = "")
{
        struct probe p = {
                .reject = EDITS(CLEAR(GUEST_CR0, CR0_NE)), .outcome = BAD_GUEST,
        };

        probe_check(self, &p);
}

CASE(last, .id = "bench.last", .title = "the time-stamp counter at the last case",
     .sdm = "", .rules = "", .needs = "any")
{
        note_tsc();
}
