/*
 * The needs of cases. The tokens: needs.def, controls.def (a control can be 1)
 * and caps.def (a bit field is not 0).
 */
#include "lib/fmt.h"
#include "lib/platform.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/smp.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/session.h"

static bool always(unsigned unused)
{
        (void)unused;
        return true;
}

static bool lacks_vmx(unsigned unused)
{
        (void)unused;
        return !vmx_caps()->vmx;
}

static bool has_cpus(unsigned number)
{
        return cpus_online() >= number;
}

static bool is_host(unsigned bits)
{
        return sizeof(ulong) * 8 == bits;
}

static bool physical_above(unsigned bits)
{
        return physical_address_width() > bits;
}

static bool physical_below(unsigned bits)
{
        return physical_address_width() < bits;
}

static bool perfmon_version(unsigned version)
{
        return cpuid(0, 0).a >= 0xa && (cpuid(0xa, 0).a & 0xff) >= version;
}

static bool has_cr3_targets(unsigned number)
{
        return vmx_cap(misc, CR3_TARGETS) >= number;
}

static const struct {
        const char *token, *title;
        bool (*holds)(unsigned);
        unsigned argument;
} functions[] = {
#define NEED(token, title, function, argument) { token, title, function, argument },
#include "x86/vmx/needs.def"
};

static const struct {
        const char *token, *title;
        u32 leaf;
        u8 subleaf;
        char reg;
        u8 bit;
} features[] = {
#define NEED_CPUID(token, title, leaf, subleaf, reg, bit) \
        { token, title, leaf, subleaf, reg, bit },
#include "x86/vmx/needs.def"
};

static const struct {
        const char *token, *title;
        size_t offset;  /* of the MSR's value in struct vmx_caps */
        u64 mask;
} bits[] = {
#define CAP(member, hi, lo, name, token, title) \
        { token, title, offsetof(struct vmx_caps, member), BITS(hi, lo) },
#include "x86/vmx/caps.def"
};

struct finding {
        bool known, holds, is_control;
        const char *title;
};

static bool same(const char *token, const char *word, size_t length)
{
        return !strncmp(token, word, length) && !token[length];
}

/* Without @evaluate only `known` and `title` are filled. */
static struct finding look_up(const char *word, size_t length, bool evaluate)
{
        struct finding f = { .known = true };

        for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
                if (!same(functions[i].token, word, length))
                        continue;
                f.title = functions[i].title;
                f.holds = evaluate && functions[i].holds(functions[i].argument);
                return f;
        }
        for (size_t i = 0; i < ARRAY_LEN(features); i++) {
                if (!same(features[i].token, word, length))
                        continue;
                f.title = features[i].title;
                f.holds = evaluate && cpuid_bit(features[i].leaf, features[i].subleaf,
                                                features[i].reg, features[i].bit);
                return f;
        }
        for (size_t i = 0; i < vmx_control_count; i++) {
                const struct vmx_control *c = &vmx_controls[i];

                if (!same(c->token, word, length))
                        continue;
                f.title = c->name;
                f.is_control = true;
                f.holds = evaluate && control_can_be_1((enum control_word)c->word,
                                                       BIT(c->bit));
                return f;
        }
        for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
                if (!same(bits[i].token, word, length))
                        continue;
                f.title = bits[i].title;
                f.holds = evaluate && *(const u64 *)((const u8 *)vmx_caps() +
                                                     bits[i].offset) & bits[i].mask;
                return f;
        }
        f.known = false;
        return f;
}

/* A token of a list that ends at a space, `|` or NUL. */
static size_t token_length(const char *text)
{
        size_t n = 0;

        while (text[n] && text[n] != ' ' && text[n] != '|')
                n++;
        return n;
}

/* The text of the last answer; one at a time is in use. */
static char reason[160];

static void give_reason(const char *word, size_t length, bool negated,
                        const struct finding *f)
{
        char token[64];

        if (length >= sizeof(token))
                length = sizeof(token) - 1;
        memcpy(token, word, length);
        token[length] = 0;
        if (!f->known)
                fmt(reason, sizeof(reason), "unknown need \"%s\"", token);
        else if (f->is_control)
                fmt(reason, sizeof(reason), "%s%s: \"%s\" can %sbe 1",
                    negated ? "" : "no ", token, f->title, negated ? "" : "not ");
        else
                fmt(reason, sizeof(reason), negated ? "%s is there (%s)" : "no %s (%s)",
                    token, f->title);
}

/*
 * One need, perhaps of several alternatives, at @text; @length becomes its
 * length. False, with the reason given: unknown, or evaluated and absent;
 * *invalid tells which.
 */
static bool need_holds(const char *text, size_t *length, bool evaluate, bool *invalid)
{
        const char *at = text;
        bool any = false;

        for (;;) {
                bool negated = *at == '!';
                size_t n = token_length(at + negated);
                struct finding f = look_up(at + negated, n, evaluate && !any);

                if (!f.known) {
                        give_reason(at + negated, n, negated, &f);
                        *invalid = true;
                        return false;
                }
                if (evaluate && !any && f.holds != negated)
                        any = true;
                else if (evaluate && !any)
                        give_reason(at + negated, n, negated, &f);
                at += negated + n;
                if (*at != '|')
                        break;
                at++;
        }
        *length = (size_t)(at - text);
        if (evaluate && !any && text[token_length(text)] == '|') {
                const char *end = at;
                struct text t = TEXT(reason);

                text_add(&t, "none of ");
                for (at = text; at < end; at++)
                        text_add(&t, "%c", *at);
        }
        return any || !evaluate;
}

/* All of the list is looked at: an unknown token must not hide. */
static bool all_hold(const char *needs, bool evaluate, bool *invalid)
{
        bool absent = false;

        for (const char *at = needs; *at; ) {
                size_t length = 1;

                if (*at != ' ' && !need_holds(at, &length, evaluate && !absent,
                                              invalid)) {
                        if (*invalid)
                                return false;
                        absent = true;
                }
                at += length;
        }
        return !absent;
}

/*
 * Lists are constants, so a list is known by its address. Cases of a table or
 * a family ask for the same list one after the other.
 */
static const char *list_absent(const char *needs, bool *invalid)
{
        static const char *held[128];
        static const char *last_absent;
        const char **slot = &held[((ulong)needs >> 2 ^ (ulong)needs >> 9) %
                                  ARRAY_LEN(held)];

        if (!needs || *slot == needs)
                return NULL;
        if (last_absent == needs)
                return reason;
        last_absent = NULL;
        if (all_hold(needs, true, invalid)) {
                *slot = needs;
                return NULL;
        }
        if (!*invalid)
                last_absent = needs;
        return reason;
}

static bool works_without_vmx(const char *needs)
{
        return list_has(needs, "any") || list_has(needs, "novmx");
}

/* Why VMX can not be used at all; NULL: it can. */
static const char *vmx_absent(void)
{
        static bool asked, permitted;

        if (!vmx_caps()->vmx)
                return "no VMX";
        if (!asked)
                permitted = vmx_permitted();
        asked = true;
        return permitted ? NULL
                         : "VMX outside SMX is locked off in IA32_FEATURE_CONTROL";
}

const char *need_absent(const char *needs, const char *more, bool *invalid)
{
        const char *absent = vmx_absent();

        if (absent && !works_without_vmx(needs) && !works_without_vmx(more)) {
                if ((needs && !all_hold(needs, false, invalid)) ||
                    (more && !all_hold(more, false, invalid)))
                        return reason;
                return absent;
        }
        absent = list_absent(needs, invalid);
        return absent ? absent : list_absent(more, invalid);
}
