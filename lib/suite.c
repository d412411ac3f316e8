#include "suite.h"
#include "check.h"
#include "fmt.h"
#include "platform.h"
#include "report.h"
#include "select.h"

/* A selection has at most so many ranges; the runner splits longer ones. */
#define MAX_RANGES 512

/* Details of further findings say little and cost much. */
#define MAX_FINDINGS 8

static struct {
        bool running;
        u32 index;
        u32 checks, findings;
        char outcome;
        char reason[160];
} now;

static struct report_counts counts;
static struct range plan[MAX_RANGES];

static u32 rows_of(const struct test_case *c)
{
        return c->count ? c->count : 1;
}

static void settle(char outcome, const char *reason)
{
        now.outcome = outcome;
        fmt(now.reason, sizeof(now.reason), "%s", reason);
}

static void run_body(const struct test_case *c, unsigned row)
{
        const struct row *head = c->rows ? case_row(c, row) : NULL;
        bool invalid = false;
        const char *absent = need_absent(c->needs, head ? head->needs : NULL,
                                         &invalid);

        if (absent && invalid) {
                case_error("%s", absent);
                return;
        }
        if (absent) {
                settle('s', absent);
                return;
        }
        machine_case_begin();
        c->run(c, row);
        machine_case_end();
        if (now.outcome == 'p' && !now.checks)
                case_error("the case checked nothing");
}

static void finish(void)
{
        now.running = false;
        switch (now.outcome) {
        case 'p':
                counts.pass++;
                break;
        case 'f':
                counts.fail++;
                break;
        case 's':
                counts.skip++;
                break;
        default:
                counts.error++;
        }
        report_result(now.index, now.outcome,
                      now.outcome == 's' ? now.reason : NULL);
}

static void run_case(const struct test_case *c, unsigned row, u32 index)
{
        now.running = true;
        now.index = index;
        now.checks = now.findings = 0;
        now.outcome = 'p';
        report_start(index);
        run_body(c, row);
        finish();
}

/* Fills @plan; returns its number of ranges, or -1 for a bad selection. */
static int make_plan(const char *selection, u32 cases)
{
        int n = 0, more;

        if (!selection) {
                plan[0] = (struct range){ 0, cases - 1 };
                return cases ? 1 : 0;
        }
        while ((more = select_next(&selection, &plan[n])) > 0) {
                if (plan[n].last >= cases)
                        return -1;
                if (n && plan[n].first <= plan[n - 1].last)
                        return -1;
                if (++n == MAX_RANGES)
                        return -1;
        }
        return more ? more : n;
}

_Noreturn void suite_run(const char *cmdline, const char *boot_path)
{
        u32 cases = 0, index = 0;
        int ranges, next = 0;

        for (const struct test_case *c = registry_start; c < registry_end; c++)
                cases += rows_of(c);
        report_hello(boot_path, cases);
        ranges = make_plan(parameter(cmdline, "cases"), cases);
        if (ranges < 0)
                suite_panic("the selection of cases is malformed");
        machine_fingerprint();
        report_plan(plan, (unsigned)ranges);
        for (const struct test_case *c = registry_start; c < registry_end; c++) {
                for (unsigned row = 0; row < rows_of(c); row++, index++) {
                        while (next < ranges && plan[next].last < index)
                                next++;
                        if (next < ranges && plan[next].first <= index)
                                run_case(c, row, index);
                }
        }
        report_end(&counts);
        console_flush();
        machine_end();
}

_Noreturn void suite_panic(const char *format, ...)
{
        char text[160];
        va_list args;

        va_start(args, format);
        vfmt(text, sizeof(text), format, args);
        va_end(args);
        report_give_up(text);
        console_flush();
        machine_end();
}

void check_count(void)
{
        now.checks++;
}

bool check_failed(void)
{
        return now.outcome == 'f';
}

void check_finding(const char *file, int line, const char *what,
                   const char *want, const char *got)
{
        if (now.outcome != 'e')
                now.outcome = 'f';
        if (now.findings++ >= MAX_FINDINGS)
                return;
        report_detail("at", "%s:%d", file, line);
        report_detail("what", "%s", what);
        report_detail("want", "%s", want);
        report_detail("got", "%s", got);
}

bool check_equal(const char *file, int line, const char *what, u64 got,
                 u64 want)
{
        char w[24], g[48];

        check_count();
        if (got == want)
                return true;
        fmt(w, sizeof(w), "0x%llx", (unsigned long long)want);
        fmt(g, sizeof(g), "0x%llx (differs in 0x%llx)",
            (unsigned long long)got, (unsigned long long)(got ^ want));
        check_finding(file, line, what, w, g);
        return false;
}

bool check_true(const char *file, int line, const char *what, bool cond,
                const char *format, ...)
{
        char text[200];
        va_list args;

        check_count();
        if (cond)
                return true;
        va_start(args, format);
        vfmt(text, sizeof(text), format, args);
        va_end(args);
        check_finding(file, line, what, "that it holds", text);
        return false;
}

void case_error(const char *format, ...)
{
        char text[200];
        va_list args;

        va_start(args, format);
        vfmt(text, sizeof(text), format, args);
        va_end(args);
        if (now.outcome != 'f')
                now.outcome = 'e';
        report_detail("note", "%s", text);
}

void case_skip(const char *format, ...)
{
        va_list args;

        if (now.outcome != 'p')
                return;
        now.outcome = 's';
        va_start(args, format);
        vfmt(now.reason, sizeof(now.reason), format, args);
        va_end(args);
}
