/*
 * The suite's core with a registry and a machine of our own: the bytes on the
 * wire are compared whole.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "lib/check.h"
#include "lib/crc.h"
#include "lib/platform.h"
#include "lib/report.h"
#include "lib/string.h"
#include "lib/suite.h"

static char wire[1 << 16];
static size_t wire_len;
static jmp_buf ended;
static unsigned begun, closed;

void console_write(const char *bytes, size_t size)
{
        assert_true(wire_len + size < sizeof(wire));
        memcpy(wire + wire_len, bytes, size);
        wire_len += size;
        wire[wire_len] = 0;
}

void console_flush(void)
{
}

_Noreturn void machine_end(void)
{
        longjmp(ended, 1);
}

const u8 *image_build_id(size_t *size)
{
        static const u8 id[] = { 0xca, 0xfe };

        *size = sizeof(id);
        return id;
}

void machine_fingerprint(void)
{
        report_fingerprint("answer", 0x2a);
        report_fingerprint_text("brand", "A\\B\nC");
}

void machine_case_begin(void)
{
        begun++;
}

void machine_case_end(void)
{
        closed++;
}

const char *need_absent(const char *needs, const char *more, bool *invalid)
{
        *invalid = list_has(needs, "wrong");
        if (*invalid)
                return "unknown need: wrong";
        return list_has(more, "absent") ? "no absent" : NULL;
}

static void passes(const struct test_case *self, unsigned row)
{
        (void)self;
        CHECK_EQ("row", row, row);
}

static void fails(const struct test_case *self, unsigned row)
{
        (void)self;
        (void)row;
        check_equal("f.c", 7, "CR0", 0x11, 0x10);
        check_true("f.c", 8, "x", false, "text\n@1 R 0 p 0000");
}

static void does_nothing(const struct test_case *self, unsigned row)
{
        (void)self;
        (void)row;
}

static void skips(const struct test_case *self, unsigned row)
{
        (void)self;
        (void)row;
        case_skip("not %u bits", 64);
}

static void fails_then_errs(const struct test_case *self, unsigned row)
{
        fails(self, row);
        case_error("no processor");
}

static void errs_then_fails(const struct test_case *self, unsigned row)
{
        case_error("no field");
        fails(self, row);
}

static void panics(const struct test_case *self, unsigned row)
{
        (void)self;
        (void)row;
        suite_panic("exception %u", 13);
}

static const struct row rows[] = { { .id = "a" }, { .id = "b", .needs = "absent" } };

const struct test_case registry_start[] = {
        { .id = "p", .run = passes },
        { .id = "f", .run = fails },
        { .id = "t", .run = passes, .rows = rows, .row_size = sizeof(rows[0]),
          .count = 2 },
        { .id = "n", .run = does_nothing },
        { .id = "s", .run = skips },
        { .id = "w", .run = passes, .needs = "wrong" },
        { .id = "y", .run = fails_then_errs },
        { .id = "z", .run = errs_then_fails },
        { .id = "x", .run = panics },
};
/* The core compares addresses only; the array's end is aliased to its name. */
_Static_assert(sizeof(struct test_case) == 80, "as in the next line");
asm(".globl registry_end\n.set registry_end, registry_start + 9 * 80\n");

/* Each line without its number and check sum, both of which are verified. */
static char *bodies(void)
{
        static char out[sizeof(wire)];
        size_t n = 0;
        unsigned number = 0;

        for (char *line = wire; *line;) {
                char *end = strchr(line, '\n'), head[16];
                int len;

                assert_non_null(end);
                assert_true(end + 1 - line <= REPORT_LINE);
                len = snprintf(head, sizeof(head), "@%x ", number++);
                assert_memory_equal(line, head, (size_t)len);
                assert_int_equal(strtol(end - 4, NULL, 16),
                                 crc16(CRC16_INITIAL, line,
                                       (size_t)(end - 5 - line)));
                n += (size_t)snprintf(out + n, sizeof(out) - n, "%.*s\n",
                                      (int)(end - 5 - line - len), line + len);
                line = end + 1;
        }
        return out;
}

/* suite_run() counts for a whole boot, so each boot is a process of its own. */
static void run(const char *cmdline)
{
        wire_len = 0;
        if (!setjmp(ended))
                suite_run(cmdline, "rom");
}

#define FIRST_FINDING "D at f.c:7\nD what CR0\nD want 0x10\n" \
        "D got 0x11 (differs in 0x1)\n"
#define SECOND_FINDING "D at f.c:8\nD what x\nD want that it holds\n" \
        "D got text\\x0a@1 R 0 p 0000\n"
#define HELLO "H 1 cafe x86_64 rom a\n" \
        "F answer=2a\nF brand=A\\x5cB\\x0aC\n"

static void test_all(void **state)
{
        (void)state;
        run("cases=0-8");
        assert_string_equal(bodies(), HELLO
                "P 9 0-8\n"
                "S 0\nR 0 p\n"
                "S 1\n" FIRST_FINDING SECOND_FINDING "R 1 f\n"
                "S 2\nR 2 p\nS 3\nR 3 s no absent\n"
                "S 4\nD note the case checked nothing\nR 4 e\n"
                "S 5\nR 5 s not 64 bits\n"
                "S 6\nD note unknown need: wrong\nR 6 e\n"
                "S 7\n" FIRST_FINDING SECOND_FINDING "D note no processor\nR 7 f\n"
                "S 8\nD note no field\n" FIRST_FINDING SECOND_FINDING "R 8 e\n"
                "E 2 2 2 3\n");
        assert_int_equal(begun, 7);
        assert_int_equal(closed, 7);
}

static void test_panic(void **state)
{
        (void)state;
        run("cases=9");
        assert_string_equal(bodies(), HELLO "P 1 9\nS 9\nX exception 13\n");
}

static void test_empty(void **state)
{
        (void)state;
        run("cases=");
        assert_string_equal(bodies(), HELLO "P 0 -\nE 0 0 0 0\n");
}

static void test_bad_plan(void **state)
{
        static const char *const bad[] = { "cases=10", "cases=3-1", "cases=1,1",
                                           "cases=2,1", "cases=x" };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                pid_t fork(void);
                int wait(int *);
                int status = 1;

                if (!fork()) {
                        run(bad[i]);
                        _Exit(strcmp(bodies(), "H 1 cafe x86_64 rom a\n"
                                "X the selection of cases is malformed\n") != 0);
                }
                wait(&status);
                assert_int_equal(status, 0);
        }
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_all), cmocka_unit_test(test_panic),
                cmocka_unit_test(test_empty), cmocka_unit_test(test_bad_plan),
        };
        /* The core has no way to start over: one test a process. */
        int n = argc > 1 ? argv[1][0] - '0' : 0;

        return _cmocka_run_group_tests(tests[n].name, tests + n, 1, NULL, NULL);
}
