/*
 * The constants of the VMX architecture (VMCS fields, controls, exit reasons,
 * VM-instruction errors), their names, and values in words. The facts are in
 * the *.def files. Compiles on the host too.
 */
#ifndef X86_VMX_NAMES_H
#define X86_VMX_NAMES_H

#include "lib/fmt.h"
#include "lib/types.h"

/* VMCS_GUEST_CR0 ...: the encoding, of full access where there is a choice. */
enum vmcs_field_encoding {
#define FIELD(name, encoding, sdm, exists) VMCS_##name = encoding,
#include "x86/vmx/fields.def"
};

/* EXIT_CPUID ...: bits 15:0 of the exit reason. */
enum exit_reason {
#define REASON(number, name, sdm) EXIT_##name = number,
#include "x86/vmx/reasons.def"
};

/* Bits of the exit reason above them: SDM, "Basic VM-Exit Information". */
#define EXIT_SHADOW_STACK_BUSY 0x02000000u
#define EXIT_BUS_LOCKED        0x04000000u
#define EXIT_ENCLAVE_MODE      0x08000000u
#define EXIT_PENDING_MTF       0x10000000u
#define EXIT_FROM_ROOT         0x20000000u
#define EXIT_ENTRY_FAILURE     0x80000000u

/* VMERR_ENTRY_CONTROLS ... */
enum vm_error {
#define VMERROR(number, name, meaning) VMERR_##name = number,
#include "x86/vmx/errors.def"
};

/* The words that hold the VMX controls. */
enum control_word {
        WORD_PIN, WORD_PRIMARY, WORD_SECONDARY, WORD_TERTIARY,
        WORD_EXIT, WORD_SECONDARY_EXIT, WORD_ENTRY,
        CONTROL_WORDS
};

/*
 * CTL_PRIMARY_HLT_EXITING ...: masks. The last constant makes those that do
 * not fit an int 64 bits wide, so that ~CTL_... has all upper bits set; in a
 * variable argument list they need a cast.
 */
enum {
#define CONTROL(word, bit, name, sdm, token) CTL_##word##_##name = BIT(bit),
#include "x86/vmx/controls.def"
        CTL_WIDEN = BIT(63)
};

/* The parts of an encoding: SDM, "Structure of VMCS Component Encoding". */
enum vmcs_width { VMCS_WIDTH_16, VMCS_WIDTH_64, VMCS_WIDTH_32, VMCS_WIDTH_NATURAL };
enum vmcs_type { VMCS_TYPE_CONTROL, VMCS_TYPE_READ_ONLY, VMCS_TYPE_GUEST, VMCS_TYPE_HOST };

static inline enum vmcs_width vmcs_width(u32 encoding)
{
        return (enum vmcs_width)(encoding >> 13 & 3);
}

static inline enum vmcs_type vmcs_type(u32 encoding)
{
        return (enum vmcs_type)(encoding >> 10 & 3);
}

static inline u32 vmcs_index(u32 encoding)
{
        return encoding >> 1 & 0x1ff;
}

/* Access to the upper half of a 64-bit field? */
static inline bool vmcs_is_high(u32 encoding)
{
        return encoding & 1;
}

static inline u32 vmcs_encoding(enum vmcs_width width, enum vmcs_type type,
                                u32 index, bool high)
{
        return (u32)width << 13 | (u32)type << 10 | index << 1 | high;
}

/* Bits that the field holds; @natural: those of a natural-width field. */
static inline unsigned vmcs_field_bits(u32 encoding, unsigned natural)
{
        switch (vmcs_width(encoding)) {
        case VMCS_WIDTH_16:
                return 16;
        case VMCS_WIDTH_32:
                return 32;
        case VMCS_WIDTH_64:
                return vmcs_is_high(encoding) ? 32 : 64;
        default:
                return natural;
        }
}

/* What the absence or presence of a field says (fields.def). */
enum vmcs_judged {
        JUDGED,           /* it exists exactly where `exists` holds */
        JUDGED_PRESENCE,  /* it exists where `exists` holds; else open */
        JUDGED_NEVER,
};

struct vmcs_field {
        u16 encoding;
        u16 judged;       /* enum vmcs_judged */
        const char *name; /* as the SDM has it */
        const char *exists;
};

/* Every field of fields.def, in its order. */
extern const struct vmcs_field vmcs_fields[];
extern const unsigned vmcs_field_count;

/* NULL: the SDM has no such field. An encoding of high access finds its field. */
const struct vmcs_field *vmcs_field_find(u32 encoding);

struct vmx_control {
        u8 word;          /* enum control_word */
        u8 bit;
        const char *name; /* as the SDM has it */
        const char *token;
};

extern const struct vmx_control vmx_controls[];
extern const unsigned vmx_control_count;

/* NULL: the SDM does not define the bit. */
const struct vmx_control *control_find(enum control_word word, unsigned bit);

/* The encoding of the field that holds the word. */
u32 control_word_field(enum control_word word);

/* Names; never NULL, "unknown ..." for what the SDM does not define. */
const char *vmcs_field_name(u32 encoding);
const char *exit_reason_name(u32 basic_reason);
const char *vm_error_name(u32 number);
const char *exception_name(u8 vector);        /* "#GP" */
const char *control_word_name(enum control_word word);
const char *activity_state_name(u32 state);

/* The names of the controls of @word that are 1 in @bits. */
struct text *control_bits_text(struct text *t, enum control_word word, u64 bits);

/* Values in words, appended to @t, which is returned. */
struct text *cr0_text(struct text *t, u64 value);
struct text *cr4_text(struct text *t, u64 value);
struct text *efer_text(struct text *t, u64 value);
struct text *rflags_text(struct text *t, u64 value);
struct text *access_rights_text(struct text *t, u32 value);
struct text *interruptibility_text(struct text *t, u32 value);
struct text *pending_debug_text(struct text *t, u64 value);
struct text *event_info_text(struct text *t, u32 value);
struct text *exit_reason_text(struct text *t, u32 value);
struct text *page_fault_error_text(struct text *t, u32 value);
struct text *ept_qualification_text(struct text *t, u64 value);
struct text *cr_qualification_text(struct text *t, u64 value);
struct text *io_qualification_text(struct text *t, u64 value);
struct text *apic_access_qualification_text(struct text *t, u64 value);

/* The exit qualification that belongs to the exit reason @reason. */
struct text *qualification_text(struct text *t, u32 reason, u64 value);

/* A field's value: hexadecimal, and in words where there is a way. */
struct text *field_value_text(struct text *t, u32 encoding, u64 value);

#endif
