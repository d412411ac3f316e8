/*
 * The guest's segment registers in the VMCS. SDM Vol. 3, Virtual Machine Control
 * Structures > Guest Register State.
 */
#ifndef X86_VMX_SEGMENT_H
#define X86_VMX_SEGMENT_H

#include "x86/vmx/probe.h"

/* In the order of their fields' encodings, which are 2 apart. */
enum segment {
        SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR,
        SEGMENTS
};

#define SEG_SELECTOR(seg) (VMCS_GUEST_ES_SELECTOR + 2 * (u32)(seg))
#define SEG_BASE(seg) (VMCS_GUEST_ES_BASE + 2 * (u32)(seg))
#define SEG_LIMIT(seg) (VMCS_GUEST_ES_LIMIT + 2 * (u32)(seg))
#define SEG_RIGHTS(seg) (VMCS_GUEST_ES_ACCESS_RIGHTS + 2 * (u32)(seg))

/* The format of access rights. */
#define AR_TYPE(n) ((u32)(n))
#define AR_S (1u << 4)
#define AR_DPL(n) ((u32)(n) << 5)
#define AR_P (1u << 7)
#define AR_AVL (1u << 12)
#define AR_L (1u << 13)
#define AR_DB (1u << 14)
#define AR_G (1u << 15)
#define AR_UNUSABLE (1u << 16)
/* Bits 11:8 and 31:17. */
#define AR_RESERVED 0xfffe0f00u

/* A usable LDTR beside the baseline's unusable one: type 2, present. */
#define AR_LDT 0x82u

/* Bit n of a family of the 19 reserved bits. */
#define AR_RESERVED_BITS 19
#define AR_RESERVED_BIT(n) ((n) < 4 ? 8 + (n) : 13 + (n))

/*
 * A reserved bit of the access rights of @seg must be 0 where they are checked,
 * except on processors that do not keep it in the field: VMREAD gives 0 after
 * VMWRITE, and VM entry takes it for 0. The baseline is @probe's.
 */
void segment_reserved_check(const struct test_case *self,
                            const struct probe *probe, enum segment seg,
                            unsigned bit);

/* Access rights @rights of @seg are accepted or, if not @legal, refused. */
void segment_rights_check(const struct test_case *self,
                          const struct probe *probe, enum segment seg,
                          u32 rights, bool legal);

#endif
