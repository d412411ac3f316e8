/* A registry without a machine: what the runner's tests select from. */
#include "registry.h"

__attribute__((used, section(".vmxt.info")))
const struct registry_info info = { "VMXTREG1", sizeof(void *), sizeof(struct test_case) };

#ifdef PREFLIGHT
CASE(sane, .id = "preflight.first", .title = "sane", .sdm = "Basics", .rules = "RULE_P")
{
}

CASE(too, .id = "preflight.second", .title = "sane too", .sdm = "Basics", .rules = "RULE_P")
{
}
#else
struct bit {
        struct row head;
        unsigned bit;
};

static const struct bit bits[] = {
        { { "pe", "PE", 0, 0 }, 0 },
        { { "ne", "NE", "RULE_NE", "cpus-2" }, 5 },
        { { "pg", "PG", "RULE_CR0", "ept" }, 31 },
};

CASE(first, .id = "fake.first", .title = "the first", .sdm = "VM Entries > Basic Checks",
     .rules = "RULE_A RULE_B")
{
}

TABLE(cr0, bits, .id = "fake.cr0", .title = "CR0", .sdm = "VM Entries > Host State",
      .rules = "RULE_CR0", .needs = "unrestricted")
{
}

FAMILY(family, 4, .id = "fake.family", .title = "one of four", .sdm = "VM Exits > Reasons",
       .rules = "RULE_F")
{
}

#endif

void _start(void)
{
}
