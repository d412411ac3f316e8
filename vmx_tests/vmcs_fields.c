/*
 * SDM Vol. 3, Appendix B, Field Encoding in VMCS: every field exists where its
 * capability is there, and nowhere else, for VMREAD and VMWRITE, full and high
 * access alike. The fields are those of x86/vmx/fields.def.
 */
#include "lib/check.h"
#include "lib/platform.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/guest.h"
#include "x86/vmx/instr.h"

struct field {
        struct row head;
        u32 encoding;
};

/* The rule of the catalogue that lists the field of encoding e. */
#define IN(e, first, last, rule, other) \
        ((e) >= (first) && (e) <= (last) ? rule : other)
#define RULE_16(e)                                                             \
        IN(e, 0x0000, 0x0000, "VMCS_FLD_16_CTL_VPID",                          \
        IN(e, 0x0002, 0x0002, "VMCS_FLD_16_CTL_PINV",                          \
        IN(e, 0x0004, 0x0004, "VMCS_FLD_16_CTL_EPTP_INDEX",                    \
        IN(e, 0x0006, 0x0006, "VMCS_FLD_16_CTL_HLAT_PREFIX",                   \
        IN(e, 0x0008, 0x0008, "VMCS_FLD_16_CTL_LAST_PID",                      \
        IN(e, 0x000a, 0x000a, "VMCS_FLD_16_CTL_VTIMER",                        \
        IN(e, 0x0800, 0x080e, "VMCS_FLD_16_GUEST_SELECTORS",                   \
        IN(e, 0x0810, 0x0810, "VMCS_FLD_16_GUEST_INTSTATUS",                   \
        IN(e, 0x0812, 0x0812, "VMCS_FLD_16_GUEST_PML_INDEX",                   \
        IN(e, 0x0814, 0x0814, "VMCS_FLD_16_GUEST_UINV VMCS_FLD_SEVERAL_CAPS",  \
        IN(e, 0x0c00, 0x0c0c, "VMCS_FLD_16_HOST_SELECTORS", NULL)))))))))))
#define RULE_64_CONTROL_FIRST(e, other)                                        \
        IN(e, 0x2004, 0x2004, "VMCS_FLD_64_CTL_MSR_BITMAP",                    \
        IN(e, 0x200e, 0x200e, "VMCS_FLD_64_CTL_PML",                           \
        IN(e, 0x2000, 0x2010, "VMCS_FLD_64_CTL_ALWAYS",                        \
        IN(e, 0x2012, 0x2012, "VMCS_FLD_64_CTL_VAPIC",                         \
        IN(e, 0x2014, 0x2014, "VMCS_FLD_64_CTL_APIC_ACCESS",                   \
        IN(e, 0x2016, 0x2016, "VMCS_FLD_64_CTL_PID",                           \
        IN(e, 0x2018, 0x2018, "VMCS_FLD_64_CTL_VMFUNC",                        \
        IN(e, 0x201a, 0x201a, "VMCS_FLD_64_CTL_EPTP",                          \
        IN(e, 0x201c, 0x2022, "VMCS_FLD_64_CTL_EOI",                           \
        IN(e, 0x2024, 0x2024, "VMCS_FLD_64_CTL_EPTP_LIST",                     \
        IN(e, 0x2026, 0x2028, "VMCS_FLD_64_CTL_VMREAD_WRITE_BITMAPS",          \
        IN(e, 0x202a, 0x202a, "VMCS_FLD_64_CTL_VE_INFO",                       \
        IN(e, 0x202c, 0x202c, "VMCS_FLD_64_CTL_XSS",                           \
        IN(e, 0x202e, 0x202e, "VMCS_FLD_64_CTL_ENCLS", other))))))))))))))
#define RULE_64_CONTROL(e, other)                                              \
        RULE_64_CONTROL_FIRST(e,                                               \
        IN(e, 0x2030, 0x2030, "VMCS_FLD_64_CTL_SPPTP",                         \
        IN(e, 0x2032, 0x2032, "VMCS_FLD_64_CTL_TSC_MULT",                      \
        IN(e, 0x2034, 0x2034, "VMCS_FLD_64_CTL_TERTIARY",                      \
        IN(e, 0x2038, 0x203a, "VMCS_FLD_64_CTL_PASID",                         \
        IN(e, 0x203c, 0x203c, "VMCS_FLD_64_CTL_SHARED_EPT",                    \
        IN(e, 0x203e, 0x203e, "VMCS_FLD_64_CTL_PCONFIG",                       \
        IN(e, 0x2040, 0x2040, "VMCS_FLD_64_CTL_HLATP",                         \
        IN(e, 0x2042, 0x2042, "VMCS_FLD_64_CTL_PID_TABLE",                     \
        IN(e, 0x2044, 0x2044, "VMCS_FLD_64_CTL_EXIT2",                         \
        IN(e, 0x204a, 0x204c, "VMCS_FLD_64_CTL_SPEC_CTRL",                     \
        IN(e, 0x204e, 0x204e, "VMCS_FLD_64_CTL_DEADLINE_SHADOW",               \
        IN(e, 0x2052, 0x2052, "VMCS_FLD_64_CTL_INJECTED_EVENT",                \
           other)))))))))))))
#define RULE_64(e)                                                             \
        RULE_64_CONTROL(e,                                                     \
        IN(e, 0x2400, 0x2400, "VMCS_FLD_64_INFO_GPA",                          \
        IN(e, 0x2402, 0x2404, "VMCS_FLD_64_INFO_NEW",                          \
        IN(e, 0x2800, 0x2802, "VMCS_FLD_64_GUEST_ALWAYS",                      \
        IN(e, 0x2804, 0x2804, "VMCS_FLD_64_GUEST_PAT VMCS_FLD_SEVERAL_CAPS",   \
        IN(e, 0x2806, 0x2806, "VMCS_FLD_64_GUEST_EFER VMCS_FLD_SEVERAL_CAPS",  \
        IN(e, 0x2808, 0x2808, "VMCS_FLD_64_GUEST_PGC",                         \
        IN(e, 0x280a, 0x2810, "VMCS_FLD_64_GUEST_PDPTE",                       \
        IN(e, 0x2812, 0x2812, "VMCS_FLD_64_GUEST_BNDCFGS VMCS_FLD_SEVERAL_CAPS", \
        IN(e, 0x2814, 0x2814, "VMCS_FLD_64_GUEST_RTIT VMCS_FLD_SEVERAL_CAPS",  \
        IN(e, 0x2816, 0x2816, "VMCS_FLD_64_GUEST_LBR VMCS_FLD_SEVERAL_CAPS",   \
        IN(e, 0x2818, 0x2818, "VMCS_FLD_64_GUEST_PKRS",                        \
        IN(e, 0x281a, 0x2828, "VMCS_FLD_64_GUEST_FRED VMCS_FLD_SEVERAL_CAPS",  \
        IN(e, 0x282e, 0x282e, "VMCS_FLD_64_GUEST_SPEC_CTRL",                   \
        IN(e, 0x2830, 0x2830, "VMCS_FLD_64_GUEST_DEADLINE",                    \
        IN(e, 0x2c00, 0x2c00, "VMCS_FLD_64_HOST_PAT",                          \
        IN(e, 0x2c02, 0x2c02, "VMCS_FLD_64_HOST_EFER",                         \
        IN(e, 0x2c04, 0x2c04, "VMCS_FLD_64_HOST_PGC",                          \
        IN(e, 0x2c06, 0x2c06, "VMCS_FLD_64_HOST_PKRS",                         \
        IN(e, 0x2c08, 0x2c16, "VMCS_FLD_64_HOST_FRED",                         \
        IN(e, 0x2c1a, 0x2c1a, "VMCS_FLD_64_HOST_SPEC_CTRL",                    \
           NULL)))))))))))))))))))))
#define RULE_32(e)                                                             \
        IN(e, 0x4000, 0x401a, "VMCS_FLD_32_CTL_ALWAYS",                        \
        IN(e, 0x401c, 0x401c, "VMCS_FLD_32_CTL_TPR_THRESHOLD",                 \
        IN(e, 0x401e, 0x401e, "VMCS_FLD_32_CTL_SECONDARY",                     \
        IN(e, 0x4020, 0x4022, "VMCS_FLD_32_CTL_PLE",                           \
        IN(e, 0x4024, 0x4024, "VMCS_FLD_32_CTL_INSTR_TIMEOUT",                 \
        IN(e, 0x4026, 0x4026, "VMCS_FLD_32_CTL_SEAM_KEYID",                    \
        IN(e, 0x4400, 0x440e, "VMCS_FLD_32_INFO",                              \
        IN(e, 0x4800, 0x482a, "VMCS_FLD_32_GUEST",                             \
        IN(e, 0x482e, 0x482e, "VMCS_FLD_32_GUEST_PREEMPT",                     \
        IN(e, 0x4c00, 0x4c00, "VMCS_FLD_32_HOST", NULL))))))))))
#define RULE_NATURAL(e)                                                        \
        IN(e, 0x6000, 0x6006, "VMCS_FLD_NAT_CTL",                              \
        IN(e, 0x6008, 0x600e, "VMCS_FLD_NAT_CTL_CR3_TARGET",                   \
        IN(e, 0x6402, 0x6408, "VMCS_FLD_NAT_INFO_IO",                          \
        IN(e, 0x6400, 0x640a, "VMCS_FLD_NAT_INFO",                             \
        IN(e, 0x6800, 0x6826, "VMCS_FLD_NAT_GUEST",                            \
        IN(e, 0x6828, 0x682c, "VMCS_FLD_NAT_GUEST_CET",                        \
        IN(e, 0x6c00, 0x6c16, "VMCS_FLD_NAT_HOST",                             \
        IN(e, 0x6c18, 0x6c1c, "VMCS_FLD_NAT_HOST_CET", NULL))))))))
#define RULE(e) ((e) < 0x2000 ? RULE_16(e) : (e) < 0x4000 ? RULE_64(e) : \
                 (e) < 0x6000 ? RULE_32(e) : RULE_NATURAL(e))

static const struct field fields[] = {
#define FIELD(name, encoding, sdm, exists) \
        { { #encoding, sdm, RULE(encoding), NULL }, encoding },
#include "x86/vmx/fields.def"
};

/* May its absence or presence be judged? */
static bool is_judged(const struct vmcs_field *f, bool exists)
{
        /* The SDM gives this field for "load ..." alone; a processor may have
         * it for "save IA32_PERF_GLOBAL_CTL" too. */
        if (f->encoding == VMCS_GUEST_PERF_GLOBAL_CTRL && !exists)
                return !control_can_be_1(WORD_EXIT, CTL_EXIT_SAVE_PERF_GLOBAL_CTRL);
        return f->judged == JUDGED || (f->judged == JUDGED_PRESENCE && exists);
}

#define FILL ((ulong)0xa5a5a5a5a5a5a5a5ull)
#define ERROR_12 FAIL_VALID(VMERR_UNSUPPORTED_FIELD)

/* One encoding, whose field is there or not: *@value is what was read. */
static void check_access(u32 encoding, bool exists, ulong *value)
{
        bool writable = vmcs_type(encoding) != VMCS_TYPE_READ_ONLY ||
                        vm_can_poison_exit();
        bool high = vmcs_is_high(encoding);
        struct vmx_result r;

        *value = FILL;
        vm_poison(VMERR_UNSUPPORTED_FIELD);
        r = vmread_raw(encoding, value);
        if (!exists) {
                CHECK_RESULT(high ? "VMREAD, high access" : "VMREAD", r, ERROR_12);
                CHECK_EQ("destination of the failed VMREAD", *value, FILL);
        } else {
                CHECK_RESULT(high ? "VMREAD, high access" : "VMREAD", r, SUCCEED);
        }
        vm_poison(exists ? VMERR_READ_ONLY_FIELD : VMERR_UNSUPPORTED_FIELD);
        r = vmwrite_raw(encoding, exists ? *value : 0);
        if (!exists)
                CHECK_RESULT(high ? "VMWRITE, high access" : "VMWRITE", r, ERROR_12);
        else if (writable)
                CHECK_RESULT(high ? "VMWRITE, high access" : "VMWRITE", r, SUCCEED);
        else
                CHECK_RESULT(high ? "VMWRITE, high access" : "VMWRITE", r,
                             FAIL_VALID(VMERR_READ_ONLY_FIELD));
}

/*
 * High access exists exactly where full access does; a field whose presence is
 * not to be judged is held to that alone.
 */
TABLE(existence, fields, .id = "vmcs.field",
      .title = "a field exists exactly where its capability is there",
      .sdm = "Field Encoding in VMCS",
      .rules = "VMCS_ENC_LAYOUT VMCS_ENC_HIGH_PAIRS")
{
        const struct field *row_field = case_row(self, row);
        const struct vmcs_field *f = vmcs_field_find(row_field->encoding);
        bool invalid = false, exists;
        ulong value;

        vm_begin(GUEST_NATIVE);
        exists = !need_absent(f->exists, NULL, &invalid);
        if (invalid) {
                case_error("a need of field 0x%x is unknown: %s", f->encoding, f->exists);
                return;
        }
        if (!is_judged(f, exists))
                exists = vmcs_has(f->encoding);
        check_access(f->encoding, exists, &value);
        if (vmcs_width(f->encoding) == VMCS_WIDTH_64)
                check_access(f->encoding | 1, exists, &value);
}
