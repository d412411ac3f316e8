/* The lines of the wire protocol: lib/PROTOCOL.md. */
#ifndef LIB_REPORT_H
#define LIB_REPORT_H

#include "types.h"
#include "select.h"

/* The longest line, with its line feed. */
#define REPORT_LINE 256

struct report_counts {
        u32 pass, fail, skip, error;
};

void report_hello(const char *boot_path, u32 cases);
void report_fingerprint(const char *key, u64 value);
void report_fingerprint_text(const char *key, const char *text);
void report_plan(const struct range *ranges, unsigned count);
void report_start(u32 index);
/* @outcome: 'p', 'f', 's' or 'e'; @text only with 's', else NULL. */
void report_result(u32 index, char outcome, const char *text);
/* One detail of the running case; @key as the protocol lists them. */
__attribute__((format(printf, 2, 3)))
void report_detail(const char *key, const char *format, ...);
void report_give_up(const char *text);
void report_end(const struct report_counts *counts);

#endif
