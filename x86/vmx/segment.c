#include "x86/vmx/segment.h"

static void one_side(const struct test_case *self, const struct probe *probe,
                     const struct edit *edits, bool legal)
{
        struct probe p = *probe;

        p.accept = legal ? edits : NULL;
        p.reject = legal ? NULL : edits;
        p.outcome = legal ? (struct vmx_result){ 0 } : RESULT(BAD_GUEST);
        probe_check(self, &p);
}

void segment_reserved_check(const struct test_case *self,
                            const struct probe *probe, enum segment seg,
                            unsigned bit)
{
        u32 field = SEG_RIGHTS(seg);

        vm_begin(probe->mode);
        vmwrite(field, BIT(bit));
        one_side(self, probe, EDITS(EDIT(OR, field, BIT(bit))),
                 !vmread(field));
}

void segment_rights_check(const struct test_case *self,
                          const struct probe *probe, enum segment seg,
                          u32 rights, bool legal)
{
        one_side(self, probe, EDITS(EDIT(SET, SEG_RIGHTS(seg), rights)), legal);
}
