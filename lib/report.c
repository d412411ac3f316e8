#include "report.h"
#include "crc.h"
#include "fmt.h"
#include "platform.h"

/* Room for " CRC\n" at the end of a line. */
#define TAIL 6

static struct {
        char bytes[REPORT_LINE];
        unsigned len;
        u32 number;
} line;

static void put(char c)
{
        if (line.len < REPORT_LINE - TAIL)
                line.bytes[line.len++] = c;
}

static void put_hex(u64 value, unsigned digits)
{
        unsigned n = 1;

        while (n < 16 && value >> 4 * n)
                n++;
        for (n = n < digits ? digits : n; n--;)
                put("0123456789abcdef"[value >> 4 * n & 15]);
}

static void put_decimal(u32 value)
{
        char digits[12];

        fmt(digits, sizeof(digits), "%u", value);
        for (const char *d = digits; *d; d++)
                put(*d);
}

static void put_plain(const char *text)
{
        while (*text)
                put(*text++);
}

/* Escaped, so that no text can end the line; a cut never splits an escape. */
static void put_text(const char *text)
{
        for (; *text; text++) {
                u8 c = (u8)*text;

                if (c >= 0x20 && c < 0x7f && c != '\\') {
                        put((char)c);
                } else if (line.len + 4 <= REPORT_LINE - TAIL) {
                        put_plain("\\x");
                        put_hex(c, 2);
                }
        }
}

static void begin(char type)
{
        line.len = 0;
        put('@');
        put_hex(line.number++, 1);
        put(' ');
        put(type);
        put(' ');
}

static void end(void)
{
        u16 crc;

        crc = crc16(CRC16_INITIAL, line.bytes, line.len);
        line.bytes[line.len++] = ' ';
        for (int shift = 12; shift >= 0; shift -= 4)
                line.bytes[line.len++] = "0123456789abcdef"[crc >> shift & 15];
        line.bytes[line.len++] = '\n';
        console_write(line.bytes, line.len);
}

void report_hello(const char *boot_path, u32 cases)
{
        size_t size;
        const u8 *id = image_build_id(&size);

        begin('H');
        put_plain("1 ");
        for (size_t i = 0; i < size; i++)
                put_hex(id[i], 2);
        put_plain(sizeof(void *) == 8 ? " x86_64 " : " i386 ");
        put_plain(boot_path);
        put(' ');
        put_hex(cases, 1);
        end();
}

void report_fingerprint(const char *key, u64 value)
{
        begin('F');
        put_plain(key);
        put('=');
        put_hex(value, 1);
        end();
}

void report_fingerprint_text(const char *key, const char *text)
{
        begin('F');
        put_plain(key);
        put('=');
        put_text(text);
        end();
}

void report_plan(const struct range *ranges, unsigned count)
{
        /* The longest range is 20 digits, a hyphen and a comma. */
        const unsigned per_line = (REPORT_LINE - TAIL - 24) / 22;

        do {
                unsigned n = count < per_line ? count : per_line;
                u32 cases = 0;

                for (unsigned i = 0; i < n; i++)
                        cases += ranges[i].last - ranges[i].first + 1;
                begin('P');
                put_hex(cases, 1);
                put_plain(n ? " " : " -");
                for (unsigned i = 0; i < n; i++) {
                        if (i)
                                put(',');
                        put_decimal(ranges[i].first);
                        if (ranges[i].last != ranges[i].first) {
                                put('-');
                                put_decimal(ranges[i].last);
                        }
                }
                end();
                ranges += n;
                count -= n;
        } while (count);
}

void report_start(u32 index)
{
        begin('S');
        put_hex(index, 1);
        end();
}

void report_result(u32 index, char outcome, const char *text)
{
        begin('R');
        put_hex(index, 1);
        put(' ');
        put(outcome);
        if (text) {
                put(' ');
                put_text(text);
        }
        end();
}

void report_detail(const char *key, const char *format, ...)
{
        char text[REPORT_LINE];
        va_list args;

        va_start(args, format);
        vfmt(text, sizeof(text), format, args);
        va_end(args);
        begin('D');
        put_plain(key);
        put(' ');
        put_text(text);
        end();
}

void report_give_up(const char *text)
{
        begin('X');
        put_text(text);
        end();
}

void report_end(const struct report_counts *counts)
{
        begin('E');
        put_hex(counts->pass, 1);
        put(' ');
        put_hex(counts->fail, 1);
        put(' ');
        put_hex(counts->skip, 1);
        put(' ');
        put_hex(counts->error, 1);
        end();
}
