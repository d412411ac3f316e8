#include "x86/vmx/vmcs.h"
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/vmx/caps.h"
#include "x86/vmx/instr.h"
#include "x86/vmx/session.h"

/* VMCS encodings: bits 14:13 are the width, 1 = 64 bits; bit 0 = high half. */
#define IS_64_BIT(field) (((field) >> 13 & 3) == 1)

/* SDM Vol. 3, Software Use of Virtual-Machine Control Structures. */
static struct vmcs_region *made[128];
static unsigned made_count;

struct vmcs_region *vmcs_region_new(void)
{
        struct vmcs_region *r = page_alloc(1);

        r->revision = (u32)vmx_caps()->basic & 0x7fffffff;
        if (!this_cpu()->index && made_count < ARRAY_LEN(made))
                made[made_count++] = r;
        return r;
}

void vmcs_regions_clear(void)
{
        struct vmx_result ignored;

        while (made_count) {
                u64 pointer = phys(made[--made_count]);

                if (!this_vmx()->operating)
                        continue;
                /* The VMXON region is refused: nothing to clear. */
                ignored = vmclear(&pointer);
                (void)ignored;
        }
}

/* Without the fixup and the flags of vmread_raw(): this is the fast way. */
static inline bool read_part(u32 field, ulong *value)
{
        bool ok;

        asm volatile("vmread %[field], %[value]"
                     : "=@cca" (ok), [value] "=r" (*value)
                     : [field] "r" ((ulong)field) : "memory");
        return ok;
}

struct vmx_result vmx_result_of(ulong flags)
{
        const struct trap *t = trap_last();
        struct vmx_result r = { .kind = VMX_ODD_FLAGS, .code = (u32)flags };
        ulong error;

        if (t->raised) {
                r = (struct vmx_result){ .kind = VMX_EXCEPTION,
                                         .vector = t->vector,
                                         .has_code = t->has_error,
                                         .code = t->error };
                return r;
        }
        switch (flags & VMX_FLAGS) {
        case 0:
                return RESULT(SUCCEED);
        case RFLAGS_CF:
                return RESULT(FAIL_INVALID);
        case RFLAGS_ZF:
                r.kind = VMX_FAIL_VALID;
                /* VMfailValid where there is no VMCS to hold the number. */
                r.code = read_part(VMCS_VM_INSTRUCTION_ERROR, &error)
                         ? (u32)error : NO_ERROR_NUMBER;
                return r;
        default:
                return r;
        }
}

static inline bool write_part(u32 field, ulong value)
{
        bool ok;

        asm volatile("vmwrite %[value], %[field]"
                     : "=@cca" (ok)
                     : [value] "r" (value), [field] "r" ((ulong)field)
                     : "memory");
        return ok;
}

static void access_failed(const char *instruction, u32 field)
{
        case_error("%s of field 0x%x (%s) failed", instruction, field,
                   vmcs_field_name(field));
}

u64 vmread(u32 field)
{
        ulong low = 0, high = 0;
        bool ok;

        ok = read_part(field, &low);
        if (sizeof(ulong) == 4 && IS_64_BIT(field) && !(field & 1))
                ok = ok && read_part(field | 1, &high);
        if (!ok) {
                access_failed("VMREAD", field);
                return 0;
        }
        return (u64)high << 32 | low;
}

void vmwrite(u32 field, u64 value)
{
        bool ok;

        ok = write_part(field, (ulong)value);
        if (sizeof(ulong) == 4 && IS_64_BIT(field) && !(field & 1))
                ok = ok && write_part(field | 1, (ulong)(value >> 32));
        if (!ok)
                access_failed("VMWRITE", field);
}

void vmwrite_all(const u16 *fields, const u64 *values, unsigned count)
{
        for (unsigned i = 0; i < count; i++) {
                if (sizeof(ulong) == 4)
                        vmwrite(fields[i], values[i]);
                else if (!write_part(fields[i], (ulong)values[i]))
                        access_failed("VMWRITE", fields[i]);
        }
}

bool vmcs_has(u32 field)
{
        ulong value;

        return read_part(field, &value);
}

void vmcs_edit(const struct edit *e)
{
        for (; e && e->op != EDIT_END; e++) {
                u64 old = e->op == EDIT_SET ? 0 : vmread(e->field);

                switch (e->op) {
                case EDIT_SET:
                        vmwrite(e->field, e->value);
                        break;
                case EDIT_OR:
                        vmwrite(e->field, old | e->value);
                        break;
                case EDIT_CLEAR:
                        vmwrite(e->field, old & ~e->value);
                        break;
                case EDIT_FLIP:
                        vmwrite(e->field, old ^ e->value);
                        break;
                case EDIT_CALC:
                        vmwrite(e->field, e->calc(old));
                        break;
                }
        }
}
