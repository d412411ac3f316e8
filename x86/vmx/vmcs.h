/*
 * VMCS regions and fields. SDM Vol. 3, Virtual Machine Control Structures.
 */
#ifndef X86_VMX_VMCS_H
#define X86_VMX_VMCS_H

#include "lib/types.h"
#include "x86/vmx/names.h"

struct vmcs_region {
        u32 revision;         /* bit 31: shadow-VMCS indicator */
        u32 abort_indicator;
        u8 data[4096 - 8];
};

/*
 * A zeroed region with the processor's VMCS revision identifier; at the end of
 * the case its memory is given back.
 */
struct vmcs_region *vmcs_region_new(void);

/*
 * VMCLEAR of the regions that the first processor made in the case: while one
 * is active its memory must not be used otherwise.
 */
void vmcs_regions_clear(void);

/*
 * A field of the current VMCS, of any width (a 64-bit field in a 32-bit build
 * takes two accesses). A field that can not be accessed makes the running case
 * an error: cases name what they need. VMREAD then gives 0.
 */
u64 vmread(u32 field);
void vmwrite(u32 field, u64 value);

/*
 * vmwrite() of @count fields: what every case begins with, so this is the fast
 * way.
 */
void vmwrite_all(const u16 *fields, const u64 *values, unsigned count);

/* True if the current processor has the field: VMREAD of it succeeds. */
bool vmcs_has(u32 field);

/*
 * One change of a VMCS, as data. A list ends with an entry whose op is
 * EDIT_END (0).
 */
enum edit_op {
        EDIT_END,
        EDIT_SET,
        EDIT_OR,
        EDIT_CLEAR,
        EDIT_FLIP,
        EDIT_CALC,
};

struct edit {
        u16 field;
        u16 op;
        union {
                u64 value;
                u64 (*calc)(u64 old);
        };
};

#define SET(f, v)   { .field = VMCS_##f, .op = EDIT_SET, .value = (v) }
#define OR(f, v)    { .field = VMCS_##f, .op = EDIT_OR, .value = (v) }
#define CLEAR(f, v) { .field = VMCS_##f, .op = EDIT_CLEAR, .value = (v) }
#define FLIP(f, v)  { .field = VMCS_##f, .op = EDIT_FLIP, .value = (v) }
/* The new value is @fn of the old one, for what only run time can tell. */
#define CALC(f, fn) { .field = VMCS_##f, .op = EDIT_CALC, .calc = (fn) }
#define EDITS(...)  (const struct edit[]){ __VA_ARGS__, { .op = EDIT_END } }

/* Applies @edits (NULL: none) to the current VMCS. */
void vmcs_edit(const struct edit *edits);

#endif
