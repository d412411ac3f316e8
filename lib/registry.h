/*
 * The case registry: every case is one constant in the section .vmxt.cases of
 * its image. The layout is part of the protocol (lib/PROTOCOL.md): the runner
 * reads it from the ELF file.
 */
#ifndef LIB_REGISTRY_H
#define LIB_REGISTRY_H

#include "types.h"

/* What every row of a table begins with. NULL: as in the table's entry. */
struct row {
        const char *id;    /* appended to the entry's id with a dot */
        const char *title;
        const char *rules; /* in addition to the entry's, space-separated */
        const char *needs; /* in addition to the entry's, space-separated */
};

struct test_case;

/* The body of a case. @row is the row's number, 0 for an entry without rows. */
typedef void case_fn(const struct test_case *self, unsigned row);

struct test_case {
        const char *id;    /* dotted, [a-z0-9._/-]+, unique in the suite */
        const char *title; /* one line, what is checked */
        const char *sdm;   /* "Chapter > Section > ..." as the SDM titles them */
        const char *rules; /* catalogue ids, space-separated */
        const char *needs; /* tokens of x86/vmx/needs.def; NULL or "": VMX only */
        case_fn *run;
        const void *rows;  /* NULL: none, or a numbered family */
        const char *file;
        u32 row_size;      /* bytes */
        u32 count;         /* rows; 0: the entry is one case */
        u32 line;
        u32 reserved;
};

struct registry_info {
        char magic[8];     /* "VMXTREG1" */
        u32 pointer_size;  /* bytes */
        u32 case_size;     /* sizeof(struct test_case) */
};

#define REGISTRY_ENTRY(name, ...)                                              \
        static case_fn name;                                                   \
        static const struct test_case name##_case                              \
                __attribute__((used, section(".vmxt.cases"),                   \
                               aligned(sizeof(void *)))) = {                   \
                        .run = name, .file = __FILE__, .line = __LINE__,       \
                        __VA_ARGS__ };

/*
 * CASE(name, .id = "...", .title = "...", .sdm = "...", .rules = "...",
 *      [.needs = "..."]) { body }
 */
#define CASE(name, ...)                                                        \
        REGISTRY_ENTRY(name, __VA_ARGS__)                                      \
        static void name(__attribute__((unused)) const struct test_case *self, \
                         __attribute__((unused)) unsigned row)

/*
 * TABLE(name, rows, .id = ..., ...) { body }: one case a row of the constant
 * array @rows, whose elements begin with a struct row.
 */
#define TABLE(name, table, ...)                                                \
        CASE(name, .rows = (table), .row_size = sizeof((table)[0]),            \
             .count = sizeof(table) / sizeof((table)[0]), __VA_ARGS__)

/* FAMILY(name, n, .id = ..., ...) { body }: n cases that a number tells apart. */
#define FAMILY(name, n, ...) CASE(name, .count = (n), __VA_ARGS__)

#endif
