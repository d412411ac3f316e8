/*
 * Values in words. The formats: SDM, chapter "Virtual Machine Control
 * Structures" for the fields, "VM Exits" for exit qualifications.
 */
#include "x86/vmx/names.h"

struct bit_name {
        u8 bit;
        const char *name;
};

/* The names of the bits that are 1, then what has no name, in hexadecimal. */
static struct text *bits_text(struct text *t, u64 value,
                              const struct bit_name *names, unsigned count)
{
        const char *space = "";

        if (!value)
                return text_add(t, "none");
        for (unsigned i = 0; i < count; i++) {
                if (!(value & BIT(names[i].bit)))
                        continue;
                text_add(t, "%s%s", space, names[i].name);
                value &= ~BIT(names[i].bit);
                space = " ";
        }
        if (value)
                text_add(t, "%s0x%llx", space, (unsigned long long)value);
        return t;
}

#define BITS_TEXT(t, value, ...)                                   \
        do {                                                       \
                static const struct bit_name names[] = __VA_ARGS__; \
                return bits_text(t, value, names, ARRAY_LEN(names)); \
        } while (0)

struct text *cr0_text(struct text *t, u64 value)
{
        BITS_TEXT(t, value, {
                { 0, "PE" }, { 1, "MP" }, { 2, "EM" }, { 3, "TS" },
                { 4, "ET" }, { 5, "NE" }, { 16, "WP" }, { 18, "AM" },
                { 29, "NW" }, { 30, "CD" }, { 31, "PG" } });
}

struct text *cr4_text(struct text *t, u64 value)
{
        BITS_TEXT(t, value, {
                { 0, "VME" }, { 1, "PVI" }, { 2, "TSD" }, { 3, "DE" },
                { 4, "PSE" }, { 5, "PAE" }, { 6, "MCE" }, { 7, "PGE" },
                { 8, "PCE" }, { 9, "OSFXSR" }, { 10, "OSXMMEXCPT" },
                { 11, "UMIP" }, { 12, "LA57" }, { 13, "VMXE" },
                { 14, "SMXE" }, { 16, "FSGSBASE" }, { 17, "PCIDE" },
                { 18, "OSXSAVE" }, { 19, "KL" }, { 20, "SMEP" },
                { 21, "SMAP" }, { 22, "PKE" }, { 23, "CET" }, { 24, "PKS" },
                { 25, "UINTR" }, { 27, "LASS" }, { 28, "LAM_SUP" },
                { 32, "FRED" } });
}

struct text *efer_text(struct text *t, u64 value)
{
        BITS_TEXT(t, value, {
                { 0, "SCE" }, { 8, "LME" }, { 10, "LMA" }, { 11, "NXE" } });
}

struct text *rflags_text(struct text *t, u64 value)
{
        /* Bit 1 is always 1: only its absence is worth a word. */
        if (!(value & BIT(1)))
                text_add(t, "(bit 1 = 0) ");
        if (value & BITS(13, 12))
                text_add(t, "IOPL=%u ", (unsigned)(value >> 12 & 3));
        BITS_TEXT(t, value & ~(BIT(1) | BITS(13, 12)), {
                { 0, "CF" }, { 2, "PF" }, { 4, "AF" }, { 6, "ZF" },
                { 7, "SF" }, { 8, "TF" }, { 9, "IF" }, { 10, "DF" },
                { 11, "OF" }, { 14, "NT" }, { 16, "RF" }, { 17, "VM" },
                { 18, "AC" }, { 19, "VIF" }, { 20, "VIP" }, { 21, "ID" } });
}

struct text *access_rights_text(struct text *t, u32 value)
{
        text_add(t, "type %u %s DPL %u ", value & 15,
                 value & BIT(4) ? "code/data" : "system",
                 (unsigned)(value >> 5 & 3));
        BITS_TEXT(t, value & ~(u32)0x7f, {
                { 7, "P" }, { 12, "AVL" }, { 13, "L" }, { 14, "D/B" },
                { 15, "G" }, { 16, "unusable" } });
}

struct text *interruptibility_text(struct text *t, u32 value)
{
        BITS_TEXT(t, value, {
                { 0, "blocking-by-STI" }, { 1, "blocking-by-MOV-SS" },
                { 2, "blocking-by-SMI" }, { 3, "blocking-by-NMI" },
                { 4, "enclave-interruption" } });
}

struct text *pending_debug_text(struct text *t, u64 value)
{
        BITS_TEXT(t, value, {
                { 0, "B0" }, { 1, "B1" }, { 2, "B2" }, { 3, "B3" },
                { 11, "BLD" }, { 12, "enabled-breakpoint" }, { 14, "BS" },
                { 16, "RTM" } });
}

struct text *page_fault_error_text(struct text *t, u32 value)
{
        BITS_TEXT(t, value, {
                { 0, "present" }, { 1, "write" }, { 2, "user" },
                { 3, "reserved-bit" }, { 4, "fetch" }, { 5, "protection-key" },
                { 6, "shadow-stack" }, { 7, "HLAT" }, { 15, "SGX" } });
}

struct text *event_info_text(struct text *t, u32 value)
{
        static const char *const types[] = {
                "external interrupt", "reserved type 1", "NMI",
                "hardware exception", "software interrupt",
                "privileged software exception", "software exception",
                "other event",
        };
        unsigned type = value >> 8 & 7, vector = value & 0xff;

        if (!(value & BIT(31)))
                return text_add(t, "not valid");
        text_add(t, "%s", types[type]);
        /* Only exceptions have names; other types have numbers. */
        if (type == 3 || type == 5 || type == 6)
                text_add(t, " %s", exception_name((u8)vector));
        else
                text_add(t, " %u", vector);
        if (value & BIT(11))
                text_add(t, ", error code");
        if (value & BIT(12))
                text_add(t, ", bit 12");
        if (value & BIT(13))
                text_add(t, ", nested exception");
        if (value & BITS(30, 14))
                text_add(t, ", reserved 0x%x", value & (u32)BITS(30, 14));
        return t;
}

struct text *exit_reason_text(struct text *t, u32 value)
{
        text_add(t, "%u: %s", value & 0xffff, exit_reason_name(value & 0xffff));
        if (!(value >> 16))
                return t;
        text_add(t, ", ");
        BITS_TEXT(t, value & ~(u32)0xffff, {
                { 25, "shadow-stack-busy" }, { 26, "bus-lock" },
                { 27, "enclave-mode" }, { 28, "pending-MTF" },
                { 29, "from-VMX-root" }, { 31, "VM-entry-failure" } });
}

struct text *ept_qualification_text(struct text *t, u64 value)
{
        /* The rights that the EPT entries gave together; bit 6 counts with
         * mode-based execute control only. */
        text_add(t, "EPT %c%c%c%c, ", value & BIT(3) ? 'r' : '-',
                 value & BIT(4) ? 'w' : '-', value & BIT(5) ? 'x' : '-',
                 value & BIT(6) ? 'u' : '-');
        BITS_TEXT(t, value & ~BITS(6, 3), {
                { 0, "read" }, { 1, "write" }, { 2, "fetch" },
                { 7, "linear-address-valid" }, { 8, "final-translation" },
                { 9, "user-linear" }, { 10, "writable-page" },
                { 11, "execute-disable-page" },
                { 12, "NMI-unblocking" }, { 13, "shadow-stack-access" },
                { 14, "supervisor-shadow-stack-page" },
                { 15, "guest-paging-verification" }, { 16, "asynchronous" } });
}

static const char *register_name(unsigned number)
{
        static const char names[][4] = {
                "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
        };

        return names[number & 15];
}

struct text *cr_qualification_text(struct text *t, u64 value)
{
        unsigned cr = value & 15;
        const char *reg = register_name((unsigned)(value >> 8));

        switch (value >> 4 & 3) {
        case 0:
                return text_add(t, "MOV to CR%u from %s", cr, reg);
        case 1:
                return text_add(t, "MOV from CR%u to %s", cr, reg);
        case 2:
                return text_add(t, "CLTS");
        default:
                return text_add(t, "LMSW 0x%x from %s",
                                (unsigned)(value >> 16 & 0xffff),
                                value & BIT(6) ? "memory" : "register");
        }
}

static struct text *dr_qualification_text(struct text *t, u64 value)
{
        return text_add(t, "MOV %s DR%u, %s", value & BIT(4) ? "from" : "to",
                        (unsigned)value & 7,
                        register_name((unsigned)(value >> 8)));
}

struct text *io_qualification_text(struct text *t, u64 value)
{
        bool in = value & BIT(3);
        const char *name = value & BIT(4) ? (in ? "INS" : "OUTS")
                                          : (in ? "IN" : "OUT");

        return text_add(t, "%s%s %u byte, port 0x%x %s",
                        value & BIT(5) ? "REP " : "", name,
                        ((unsigned)value & 7) + 1,
                        (unsigned)(value >> 16 & 0xffff),
                        value & BIT(6) ? "(immediate)" : "(DX)");
}

struct text *apic_access_qualification_text(struct text *t, u64 value)
{
        static const char *const types[16] = {
                [0] = "linear read", [1] = "linear write",
                [2] = "linear fetch", [3] = "linear, event delivery",
                [4] = "linear, asynchronous",
                [10] = "guest-physical, event delivery",
                [11] = "guest-physical, asynchronous",
                [15] = "guest-physical, instruction",
        };
        unsigned type = value >> 12 & 15;

        text_add(t, "%s, offset 0x%x", types[type] ? types[type] : "unknown type",
                 (unsigned)value & 0xfff);
        return value & BIT(16) ? text_add(t, ", asynchronous") : t;
}

static struct text *task_switch_text(struct text *t, u64 value)
{
        static const char *const sources[] = {
                "CALL", "IRET", "JMP", "task gate",
        };

        return text_add(t, "%s to TSS 0x%x", sources[value >> 30 & 3],
                        (unsigned)value & 0xffff);
}

static struct text *invalid_guest_text(struct text *t, u64 value)
{
        switch (value) {
        case 0:
                return text_add(t, "no particular cause");
        case 2:
                return text_add(t, "PDPTEs");
        case 3:
                return text_add(t, "NMI injected while blocking by STI");
        case 4:
                return text_add(t, "VMCS link pointer");
        default:
                return text_add(t, "unknown cause");
        }
}

struct text *qualification_text(struct text *t, u32 reason, u64 value)
{
        text_add(t, "0x%llx", (unsigned long long)value);
        switch (reason & 0xffff) {
        case EXIT_TASK_SWITCH:
                return task_switch_text(text_add(t, ": "), value);
        case EXIT_CR_ACCESS:
                return cr_qualification_text(text_add(t, ": "), value);
        case EXIT_MOV_DR:
                return dr_qualification_text(text_add(t, ": "), value);
        case EXIT_IO_INSTRUCTION:
                return io_qualification_text(text_add(t, ": "), value);
        case EXIT_ENTRY_FAILURE_GUEST_STATE:
                return invalid_guest_text(text_add(t, ": "), value);
        case EXIT_ENTRY_FAILURE_MSR_LOADING:
                return text_add(t, ": entry %u of the MSR-load area",
                                (unsigned)value);
        case EXIT_APIC_ACCESS:
                return apic_access_qualification_text(text_add(t, ": "), value);
        case EXIT_EPT_VIOLATION:
                return ept_qualification_text(text_add(t, ": "), value);
        default:
                return t;
        }
}

/* The words for the value of a field; false: it has none. */
static bool field_words(struct text *t, u32 encoding, u64 value)
{
        for (unsigned word = 0; word < CONTROL_WORDS; word++) {
                if (control_word_field((enum control_word)word) == encoding)
                        return control_bits_text(t, (enum control_word)word, value);
        }
        switch (encoding) {
        case VMCS_GUEST_CR0:
        case VMCS_HOST_CR0:
        case VMCS_CR0_GUEST_HOST_MASK:
        case VMCS_CR0_READ_SHADOW:
                return cr0_text(t, value);
        case VMCS_GUEST_CR4:
        case VMCS_HOST_CR4:
        case VMCS_CR4_GUEST_HOST_MASK:
        case VMCS_CR4_READ_SHADOW:
                return cr4_text(t, value);
        case VMCS_GUEST_EFER:
        case VMCS_HOST_EFER:
                return efer_text(t, value);
        case VMCS_GUEST_RFLAGS:
                return rflags_text(t, value);
        case VMCS_GUEST_ES_ACCESS_RIGHTS:
        case VMCS_GUEST_CS_ACCESS_RIGHTS:
        case VMCS_GUEST_SS_ACCESS_RIGHTS:
        case VMCS_GUEST_DS_ACCESS_RIGHTS:
        case VMCS_GUEST_FS_ACCESS_RIGHTS:
        case VMCS_GUEST_GS_ACCESS_RIGHTS:
        case VMCS_GUEST_LDTR_ACCESS_RIGHTS:
        case VMCS_GUEST_TR_ACCESS_RIGHTS:
                return access_rights_text(t, (u32)value);
        case VMCS_GUEST_INTERRUPTIBILITY_STATE:
                return interruptibility_text(t, (u32)value);
        case VMCS_GUEST_ACTIVITY_STATE:
                return text_add(t, "%s", activity_state_name((u32)value));
        case VMCS_GUEST_PENDING_DEBUG_EXCEPTIONS:
                return pending_debug_text(t, value);
        case VMCS_ENTRY_INTERRUPTION_INFO:
        case VMCS_EXIT_INTERRUPTION_INFO:
        case VMCS_IDT_VECTORING_INFO:
                return event_info_text(t, (u32)value);
        case VMCS_EXIT_REASON:
                return exit_reason_text(t, (u32)value);
        case VMCS_VM_INSTRUCTION_ERROR:
                return text_add(t, "%u: %s", (unsigned)value,
                                vm_error_name((u32)value));
        default:
                return false;
        }
}

struct text *field_value_text(struct text *t, u32 encoding, u64 value)
{
        char words[160];
        struct text w = TEXT(words);

        text_add(t, "0x%llx", (unsigned long long)value);
        return field_words(&w, encoding, value) ? text_add(t, " (%s)", words) : t;
}
