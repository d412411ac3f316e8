#include "x86/vmx/names.h"

const struct vmcs_field vmcs_fields[] = {
#define FIELD(name, encoding, sdm, exists) { encoding, JUDGED, sdm, exists },
#define FIELD_IF(name, encoding, sdm, exists) { encoding, JUDGED_PRESENCE, sdm, exists },
#define FIELD_UNSETTLED(name, encoding, sdm, exists) { encoding, JUDGED_NEVER, sdm, exists },
#include "x86/vmx/fields.def"
};
const unsigned vmcs_field_count = ARRAY_LEN(vmcs_fields);

const struct vmx_control vmx_controls[] = {
#define CONTROL(word, bit, name, sdm, token) { WORD_##word, bit, sdm, token },
#include "x86/vmx/controls.def"
};
const unsigned vmx_control_count = ARRAY_LEN(vmx_controls);

const struct vmcs_field *vmcs_field_find(u32 encoding)
{
        /* High access exists for 64-bit fields only. */
        if (vmcs_is_high(encoding) && vmcs_width(encoding) == VMCS_WIDTH_64)
                encoding--;
        for (unsigned i = 0; i < vmcs_field_count; i++) {
                if (vmcs_fields[i].encoding == encoding)
                        return &vmcs_fields[i];
        }
        return NULL;
}

const char *vmcs_field_name(u32 encoding)
{
        static char high[80];
        const struct vmcs_field *f = vmcs_field_find(encoding);

        if (!f)
                return "unknown field";
        if (f->encoding == encoding)
                return f->name;
        fmt(high, sizeof(high), "%s (high)", f->name);
        return high;
}

const char *exit_reason_name(u32 basic_reason)
{
        switch (basic_reason) {
#define REASON(number, name, sdm) case number: return sdm;
#include "x86/vmx/reasons.def"
        default:
                return "unknown exit reason";
        }
}

const char *vm_error_name(u32 number)
{
        switch (number) {
#define VMERROR(number, name, meaning) case number: return meaning;
#include "x86/vmx/errors.def"
        default:
                return "unknown VM-instruction error";
        }
}

const char *exception_name(u8 vector)
{
        /* 9 and 15 belong to no event of today's processors. */
        static const char names[][4] = {
                "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM",
                "#DF", "", "#TS", "#NP", "#SS", "#GP", "#PF", "",
                "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
        };
        static char other[12];

        if (vector < ARRAY_LEN(names) && names[vector][0])
                return names[vector];
        fmt(other, sizeof(other), "vector %u", vector);
        return other;
}

/* The words, in the order of enum control_word. */
static const u16 word_field[CONTROL_WORDS] = {
        VMCS_PIN_CONTROLS, VMCS_PRIMARY_CONTROLS, VMCS_SECONDARY_CONTROLS,
        VMCS_TERTIARY_CONTROLS, VMCS_EXIT_CONTROLS,
        VMCS_SECONDARY_EXIT_CONTROLS, VMCS_ENTRY_CONTROLS,
};

u32 control_word_field(enum control_word word)
{
        return word_field[word];
}

const char *control_word_name(enum control_word word)
{
        return vmcs_field_name(control_word_field(word));
}

const struct vmx_control *control_find(enum control_word word, unsigned bit)
{
        for (unsigned i = 0; i < vmx_control_count; i++) {
                if (vmx_controls[i].word == word && vmx_controls[i].bit == bit)
                        return &vmx_controls[i];
        }
        return NULL;
}

struct text *control_bits_text(struct text *t, enum control_word word, u64 bits)
{
        const char *comma = "";

        if (!bits)
                return text_add(t, "none");
        for (unsigned i = 0; i < vmx_control_count; i++) {
                const struct vmx_control *c = &vmx_controls[i];

                if (c->word != word || !(bits & BIT(c->bit)))
                        continue;
                text_add(t, "%s\"%s\"", comma, c->name);
                bits &= ~BIT(c->bit);
                comma = ", ";
        }
        if (!bits)
                return t;
        if (bits & (bits - 1))
                return text_add(t, "%sundefined bits 0x%llx", comma,
                                (unsigned long long)bits);
        for (unsigned bit = 0; bit < 64; bit++) {
                if (bits == BIT(bit))
                        text_add(t, "%sundefined bit %u", comma, bit);
        }
        return t;
}

const char *activity_state_name(u32 state)
{
        static const char *const names[] = {
                "active", "HLT", "shutdown", "wait-for-SIPI",
        };

        return state < ARRAY_LEN(names) ? names[state] : "unknown activity state";
}
