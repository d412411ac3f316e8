/* Unit tests of the freestanding core, on the host, under sanitizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "lib/crc.h"
#include "lib/fmt.h"
#include "lib/select.h"
#include "lib/string.h"

static void check_fmt(const char *want, const char *format, ...)
{
        char got[64];
        va_list args;
        int n;

        va_start(args, format);
        n = vfmt(got, sizeof(got), format, args);
        va_end(args);
        assert_string_equal(got, want);
        assert_int_equal(n, strlen(want));
}

static void test_fmt(void **state)
{
        (void)state;
        check_fmt("", "");
        check_fmt("a%b", "a%%b");
        check_fmt("x=00ff y=2a", "x=%04x y=%x", 0xff, 42);
        check_fmt("ffffffffffffffff", "%llx", ~0ull);
        check_fmt("18446744073709551615", "%llu", ~0ull);
        check_fmt("10000000000", "%llu", 10000000000ull);
        check_fmt("-2147483648", "%d", (int)-2147483648);
        check_fmt("-9223372036854775808", "%lld", INT64_MIN);
        check_fmt("-005", "%04d", -5);
        check_fmt("  -5", "%4d", -5);
        check_fmt("ab  c", "%4s%c", "ab", 'c');
        check_fmt("(null)", "%s", (char *)NULL);
        check_fmt("%q", "%q");
        check_fmt("end %", "end %");
}

/* Every power of ten and its neighbours, against the host's own printf. */
static void test_fmt_decimal(void **state)
{
        unsigned long long p = 1;

        (void)state;
        for (int i = 0; i < 20; i++, p *= 10) {
                for (int d = -1; d <= 1; d++) {
                        char want[32];

                        snprintf(want, sizeof(want), "%llu", p + (unsigned)d);
                        check_fmt(want, "%llu", p + (unsigned)d);
                }
        }
}

static void test_fmt_cut(void **state)
{
        char buf[4] = "zzz";

        (void)state;
        assert_int_equal(fmt(buf, sizeof(buf), "%s", "abcdef"), 6);
        assert_string_equal(buf, "abc");
        assert_int_equal(fmt(buf, 1, "%s", "abcdef"), 6);
        assert_string_equal(buf, "");
        assert_int_equal(fmt(NULL, 0, "%s", "abcdef"), 6);
}

static void test_text(void **state)
{
        char buf[8];
        struct text t = TEXT(buf);

        (void)state;
        text_add(text_add(&t, "%s", "abc"), "%u", 12);
        assert_string_equal(buf, "abc12");
        text_add(&t, "%s", "too long");
        assert_string_equal(buf, "abc12to");
        text_add(&t, "%s", "more");
        assert_string_equal(buf, "abc12to");
        assert_int_equal(t.len, 7);
}

static void test_crc(void **state)
{
        (void)state;
        /* The check value of CRC-16/CCITT-FALSE. */
        assert_int_equal(crc16(CRC16_INITIAL, "123456789", 9), 0x29b1);
        assert_int_equal(crc16(CRC16_INITIAL, "", 0), 0xffff);
        assert_int_equal(crc16(crc16(CRC16_INITIAL, "1234", 4), "56789", 5),
                         0x29b1);
}

static void test_string(void **state)
{
        char buf[] = "abcdef";

        (void)state;
        assert_true(strcmp("a", "b") < 0 && strcmp("b", "a") > 0);
        assert_int_equal(strcmp("", ""), 0);
        assert_int_equal(strncmp("abc", "abd", 2), 0);
        assert_true(memcmp("\xff", "\x01", 1) > 0);
        memmove(buf + 1, buf, 4);
        assert_string_equal(buf, "aabcdf");
        memmove(buf, buf + 1, 4);
        assert_string_equal(buf, "abcddf");
        assert_true(list_has("one two", "two"));
        assert_true(list_has("one  two", "one"));
        assert_false(list_has("one two", "tw"));
        assert_false(list_has(NULL, "x"));
        assert_false(list_has("", ""));
}

static void check_selection(const char *text, int want_end, unsigned want_count,
                            const struct range *want)
{
        struct range r;
        unsigned n = 0;
        int more;

        while ((more = select_next(&text, &r)) > 0) {
                assert_true(n < want_count);
                assert_int_equal(r.first, want[n].first);
                assert_int_equal(r.last, want[n].last);
                n++;
        }
        assert_int_equal(more, want_end);
        assert_int_equal(n, want_count);
}

static void test_select(void **state)
{
        const struct range some[] = { { 0, 4 }, { 9, 9 } };

        (void)state;
        check_selection("", 0, 0, NULL);
        check_selection("0-4,9", 0, 2, some);
        check_selection("0-4,9 cpus=2", 0, 2, some);
        check_selection("0-4,9,", -1, 1, some);
        check_selection("0-4,x", -1, 1, some);
        check_selection("5-4", -1, 0, NULL);
        check_selection("-4", -1, 0, NULL);
        check_selection("4-", -1, 0, NULL);
        check_selection("9999999999", -1, 0, NULL);
}

static void test_parameter(void **state)
{
        (void)state;
        assert_null(parameter("", "cpus"));
        assert_null(parameter(NULL, "cpus"));
        assert_null(parameter("xcpus=3 cpu=2", "cpus"));
        assert_int_equal(parameter_number(parameter("a cpus=3 b", "cpus"), 1), 3);
        assert_int_equal(parameter_number(parameter("cpus=3  cpus=4", "cpus"), 1), 4);
        assert_int_equal(parameter_number("x", 7), 7);
        assert_int_equal(parameter_number(NULL, 7), 7);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_fmt),
                cmocka_unit_test(test_fmt_decimal),
                cmocka_unit_test(test_fmt_cut),
                cmocka_unit_test(test_text),
                cmocka_unit_test(test_crc),
                cmocka_unit_test(test_string),
                cmocka_unit_test(test_select),
                cmocka_unit_test(test_parameter),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
