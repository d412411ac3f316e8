#include "x86/vmx/result.h"
#include "lib/check.h"
#include "x86/vmx/names.h"

bool result_matches(struct vmx_result got, struct vmx_result want)
{
        if (got.kind != want.kind || got.code != want.code)
                return false;
        if (want.kind == VMX_EXCEPTION)
                return got.vector == want.vector &&
                       got.has_code == want.has_code;
        return !want.has_info || got.info == want.info;
}

struct text *result_text(struct text *t, struct vmx_result r)
{
        switch (r.kind) {
        case VMX_SUCCEED:
                return text_add(t, "VMsucceed");
        case VMX_FAIL_INVALID:
                return text_add(t, "VMfailInvalid");
        case VMX_FAIL_VALID:
                if (r.code == NO_ERROR_NUMBER)
                        return text_add(t, "VMfailValid, with no current VMCS");
                return text_add(t, "VMfailValid(%u, %s)", r.code,
                                vm_error_name(r.code));
        case VMX_ODD_FLAGS:
                return text_add(t, "RFLAGS 0x%x, neither success nor VMfail",
                                r.code);
        case VMX_EXCEPTION:
                text_add(t, "%s", exception_name(r.vector));
                return r.has_code ? text_add(t, "(0x%x)", r.code) : t;
        case VMX_EXIT:
                text_add(t, r.code >> 31 ? "VM-entry failure %u (%s)"
                                         : "VM exit %u (%s)",
                         r.code & 0xffff, exit_reason_name(r.code & 0xffff));
                if (r.code & 0x7fff0000)
                        text_add(t, " of reason 0x%x", r.code);
                return r.has_info ? text_add(t, ", qualification 0x%llx",
                                             (unsigned long long)r.info) : t;
        default:
                return text_add(t, "nothing");
        }
}

static void mismatch(const char *file, int line, const char *what,
                     struct vmx_result got, struct vmx_result want,
                     const struct vmx_result *also)
{
        char w[200], g[120];
        struct text wt = TEXT(w), gt = TEXT(g);

        result_text(&wt, want);
        if (also) {
                text_add(&wt, " or ");
                result_text(&wt, *also);
        }
        result_text(&gt, got);
        check_finding(file, line, what, w, g);
}

bool check_result(const char *file, int line, const char *what,
                  struct vmx_result got, struct vmx_result want)
{
        check_count();
        if (result_matches(got, want))
                return true;
        mismatch(file, line, what, got, want, NULL);
        return false;
}

bool check_result_either(const char *file, int line, const char *what,
                         struct vmx_result got, struct vmx_result want,
                         struct vmx_result also)
{
        check_count();
        if (result_matches(got, want) || result_matches(got, also))
                return true;
        mismatch(file, line, what, got, want, &also);
        return false;
}
