/*
 * Integer instructions for preflight.c: each variant of each as a piece of code,
 * and what must come of it.
 */
#ifndef VMX_TESTS_PREFLIGHT_ALU_H
#define VMX_TESTS_PREFLIGHT_ALU_H

#include "lib/registry.h"
#include "x86/cpu.h"

/* Code in the image that is called or jumped to, by its name. */
#define CODE(name, code)                                                \
        asm(".pushsection .text\n" #name ": " code "\n.popsection");    \
        extern const u8 name[]

#define CF RFLAGS_CF
#define PF RFLAGS_PF
#define AF RFLAGS_AF
#define ZF RFLAGS_ZF
#define SF RFLAGS_SF
#define OF RFLAGS_OF
#define ALL RFLAGS_ARITH
#define SHIFT (CF | PF | ZF | SF)
#define LOGIC (SHIFT | OF)
#define ROTATE (SHIFT | AF)

#define OP(name, instruction) CODE(name, instruction "\n ret")
#define OPS_2(name) \
        OP(name##32, #name " %edx, %eax"); OP64(name##64, #name " %rdx, %rax")
#define OPS_1(name) \
        OP(name##32, #name " %eax"); OP64(name##64, #name " %rax")
#define OPS_SHIFT(name) \
        OP(name##32, #name " %cl, %eax"); OP64(name##64, #name " %cl, %rax")
#define OPS_DOUBLE(name)                                                \
        OP(name##32, #name " %cl, %edx, %eax");                         \
        OP64(name##64, #name " %cl, %rdx, %rax")
#define OPS_WIDE(name, reg)                                             \
        OP(name##32, #name "l %e" reg); OP64(name##64, #name "q %r" reg)
#ifdef __x86_64__
#define OP64(name, instruction) OP(name, instruction)
#else
#define OP64(name, instruction) extern const u8 name[]
#endif

OPS_2(add); OPS_2(adc); OPS_2(sub); OPS_2(sbb); OPS_2(cmp);
OPS_2(and); OPS_2(or); OPS_2(xor); OPS_2(bsf); OPS_2(bsr); OPS_2(bt);
OPS_1(inc); OPS_1(dec); OPS_1(neg); OPS_1(bswap);
OPS_SHIFT(shl); OPS_SHIFT(shr); OPS_SHIFT(sar); OPS_SHIFT(rol);
OPS_SHIFT(ror); OPS_SHIFT(rcl); OPS_SHIFT(rcr);
OPS_DOUBLE(shld); OPS_DOUBLE(shrd);
OPS_WIDE(mul, "dx"); OPS_WIDE(imul, "dx");
OPS_WIDE(div, "cx"); OPS_WIDE(idiv, "cx");

/*
 * ROW(instruction, variant, AX, DX, CX, flags before, AX after, DX after,
 * flags after, flags that are defined). AX is the destination, DX the source
 * or the upper half, CX the count or the divisor. The values were computed with
 * integers of unlimited size, not by a processor.
 */
static const struct alu {
        struct row head;
        const u8 *code;
        ulong ax, dx, cx, flags, want_ax, want_dx, want_flags, defined;
} alu[] = {
#define ROW(op, variant, ...) \
        { { #op "." variant, NULL, NULL, NULL }, op, __VA_ARGS__ },
        ROW(add32, "overflow", 0x7fffffff, 1, 0, 0, 0x80000000, 1,
            PF | AF | SF | OF, ALL)
        ROW(add32, "carry", 0xffffffff, 1, 0, OF, 0, 1, CF | PF | AF | ZF, ALL)
        ROW(add32, "pattern", 0x89abcdef, 0x76543245, 0, 0, 0x34, 0x76543245,
            CF | AF, ALL)
        ROW(adc32, "carry-in", 0xffffffff, 0, 0, CF, 0, 0, CF | PF | AF | ZF,
            ALL)
        ROW(sub32, "borrow", 0, 1, 0, 0, 0xffffffff, 1, CF | PF | AF | SF, ALL)
        ROW(sub32, "overflow", 0x80000000, 1, 0, CF, 0x7fffffff, 1,
            PF | AF | OF, ALL)
        ROW(sbb32, "borrow-in", 0, 0xffffffff, 0, CF | ZF, 0, 0xffffffff,
            CF | PF | AF | ZF, ALL)
        ROW(cmp32, "equal", 0x89abcdef, 0x89abcdef, 0, CF | SF | OF,
            0x89abcdef, 0x89abcdef, PF | ZF, ALL)
        ROW(inc32, "carry-kept", 0x7fffffff, 0, 0, CF, 0x80000000, 0,
            CF | PF | AF | SF | OF, ALL)
        ROW(dec32, "wrap", 0, 0, 0, 0, 0xffffffff, 0, PF | AF | SF, ALL)
        ROW(neg32, "least", 0x80000000, 0, 0, 0, 0x80000000, 0,
            CF | PF | SF | OF, ALL)
        ROW(neg32, "zero", 0, 0, 0, ALL, 0, 0, PF | ZF, ALL)
        ROW(and32, "none", 0x89abcdef, 0x76543210, 0, ALL, 0, 0x76543210,
            PF | ZF, LOGIC)
        ROW(or32, "all", 0x89abcdef, 0x76543210, 0, CF | OF, 0xffffffff,
            0x76543210, PF | SF, LOGIC)
        ROW(xor32, "some", 0x89abcdef, 0x89abcd6f, 0, CF | OF, 0x80,
            0x89abcd6f, 0, LOGIC)
        ROW(bswap32, "pattern", 0x89abcdef, 0, 0, CF | ZF, 0xefcdab89, 0,
            CF | ZF, ALL)
        ROW(bsf32, "low", 0, 0xd5e6f780, 0, ZF, 7, 0xd5e6f780, 0, ZF)
        ROW(bsr32, "high", 0, 0x113579bd, 0, ZF, 0x1c, 0x113579bd, 0, ZF)
        ROW(bt32, "modulo", 0x20000000, 0x3d, 0, 0, 0x20000000, 0x3d, CF, CF)
        ROW(mul32, "both-high", 0x89abcdef, 0x76543210, 0, 0, 0xe5618cf0,
            0x3fa27837, CF | OF, CF | OF)
        ROW(mul32, "most", 0xffffffff, 0xffffffff, 0, 0, 1, 0xfffffffe,
            CF | OF, CF | OF)
        ROW(mul32, "small", 0x10001, 0x7fff, 0, CF | OF, 0x7fff7fff, 0, 0,
            CF | OF)
        ROW(imul32, "pattern", 0x89abcdef, 0x76543210, 0, 0, 0xe5618cf0,
            0xc94e4627, CF | OF, CF | OF)
        ROW(imul32, "minus-one", 0xffffffff, 0xffffffff, 0, CF | OF, 1, 0, 0,
            CF | OF)
        ROW(imul32, "least", 0x80000000, 0xffffffff, 0, 0, 0x80000000, 0,
            CF | OF, CF | OF)
        ROW(div32, "by-ten", 0x89abcdef, 0, 0xa, 0, 0xdc46164, 7, 0, 0)
        ROW(div32, "wide", 0x89abcdef, 0x3b2a1908, 0x76543210, 0, 0x80000001,
            0x13579bdf, 0, 0)
        ROW(div32, "most", 0xffffffff, 0xfffffffe, 0xffffffff, 0, 0xffffffff,
            0xfffffffe, 0, 0)
        ROW(div32, "by-half", 0x76543210, 0, 0x89ab, 0, 0xdc09, 0x670d, 0, 0)
        ROW(idiv32, "by-ten", 0xedcba987, 0xffffffff, 0xa, 0, 0xfe2df75b,
            0xfffffff9, 0, 0)
        ROW(idiv32, "by-minus-two", 7, 0, 0xfffffffe, 0, 0xfffffffd, 1, 0, 0)
        ROW(idiv32, "of-minus-seven", 0xfffffff9, 0xffffffff, 2, 0,
            0xfffffffd, 0xffffffff, 0, 0)
        ROW(idiv32, "wide", 0x76543210, 0xfffffffd, 0x3b2a1908, 0, 0xfffffff6,
            0xc5f92c60, 0, 0)
        ROW(shl32, "0", 0x89abcdef, 0, 0, CF, 0x89abcdef, 0, CF, ALL)
        ROW(shl32, "1", 0x89abcdef, 0, 1, CF, 0x13579bde, 0, CF | PF | OF,
            LOGIC)
        ROW(shl32, "13", 0x89abcdef, 0, 0xd, PF, 0x79bde000, 0, CF | PF, SHIFT)
        ROW(shl32, "31", 0x89abcdef, 0, 0x1f, CF, 0x80000000, 0, CF | PF | SF,
            SHIFT)
        ROW(shl32, "33", 0x89abcdef, 0, 0x21, CF, 0x13579bde, 0, CF | PF | OF,
            LOGIC)
        ROW(shr32, "0", 0x89abcdef, 0, 0, CF, 0x89abcdef, 0, CF, ALL)
        ROW(shr32, "1", 0x89abcdef, 0, 1, CF, 0x44d5e6f7, 0, CF | OF, LOGIC)
        ROW(shr32, "13", 0x89abcdef, 0, 0xd, PF, 0x44d5e, 0, 0, SHIFT)
        ROW(shr32, "31", 0x89abcdef, 0, 0x1f, CF, 1, 0, 0, SHIFT)
        ROW(shr32, "33", 0x89abcdef, 0, 0x21, CF, 0x44d5e6f7, 0, CF | OF, LOGIC)
        ROW(sar32, "0", 0x89abcdef, 0, 0, CF, 0x89abcdef, 0, CF, ALL)
        ROW(sar32, "1", 0x89abcdef, 0, 1, CF, 0xc4d5e6f7, 0, CF | SF, LOGIC)
        ROW(sar32, "13", 0x89abcdef, 0, 0xd, PF, 0xfffc4d5e, 0, SF, SHIFT)
        ROW(sar32, "31", 0x89abcdef, 0, 0x1f, CF, 0xffffffff, 0, PF | SF, SHIFT)
        ROW(sar32, "33", 0x89abcdef, 0, 0x21, CF, 0xc4d5e6f7, 0, CF | SF, LOGIC)
        ROW(rol32, "0", 0x89abcdef, 0, 0, CF, 0x89abcdef, 0, CF, ALL)
        ROW(rol32, "1", 0x89abcdef, 0, 1, CF, 0x13579bdf, 0, CF | OF, ALL)
        ROW(rol32, "13", 0x89abcdef, 0, 0xd, PF, 0x79bdf135, 0, CF | PF, ROTATE)
        ROW(rol32, "31", 0x89abcdef, 0, 0x1f, CF, 0xc4d5e6f7, 0, CF, ROTATE)
        ROW(rol32, "33", 0x89abcdef, 0, 0x21, CF, 0x13579bdf, 0, CF | OF, ALL)
        ROW(ror32, "0", 0x89abcdef, 0, 0, CF, 0x89abcdef, 0, CF, ALL)
        ROW(ror32, "1", 0x89abcdef, 0, 1, CF, 0xc4d5e6f7, 0, CF, ALL)
        ROW(ror32, "13", 0x89abcdef, 0, 0xd, PF, 0x6f7c4d5e, 0, PF, ROTATE)
        ROW(ror32, "31", 0x89abcdef, 0, 0x1f, CF, 0x13579bdf, 0, 0, ROTATE)
        ROW(ror32, "33", 0x89abcdef, 0, 0x21, CF, 0xc4d5e6f7, 0, CF, ALL)
        ROW(rcl32, "0", 0x89abcdef, 0, 0, CF, 0x89abcdef, 0, CF, ALL)
        ROW(rcl32, "1", 0x89abcdef, 0, 1, CF, 0x13579bdf, 0, CF | OF, ALL)
        ROW(rcl32, "13", 0x89abcdef, 0, 0xd, PF, 0x79bde89a, 0, CF | PF, ROTATE)
        ROW(rcl32, "31", 0x89abcdef, 0, 0x1f, CF, 0xe26af37b, 0, CF, ROTATE)
        ROW(rcl32, "33", 0x89abcdef, 0, 0x21, CF, 0x13579bdf, 0, CF | OF, ALL)
        ROW(rcr32, "0", 0x89abcdef, 0, 0, CF, 0x89abcdef, 0, CF, ALL)
        ROW(rcr32, "1", 0x89abcdef, 0, 1, CF, 0xc4d5e6f7, 0, CF, ALL)
        ROW(rcr32, "13", 0x89abcdef, 0, 0xd, PF, 0xdef44d5e, 0, PF, ROTATE)
        ROW(rcr32, "31", 0x89abcdef, 0, 0x1f, CF, 0x26af37bf, 0, 0, ROTATE)
        ROW(rcr32, "33", 0x89abcdef, 0, 0x21, CF, 0xc4d5e6f7, 0, CF, ALL)
        ROW(shld32, "0", 0x89abcdef, 0x76543210, 0, CF, 0x89abcdef,
            0x76543210, CF, ALL)
        ROW(shld32, "1", 0x89abcdef, 0x76543210, 1, CF, 0x13579bde,
            0x76543210, CF | PF | OF, LOGIC)
        ROW(shld32, "27", 0x89abcdef, 0x76543210, 0x1b, CF, 0x7bb2a190,
            0x76543210, CF | PF, SHIFT)
        ROW(shrd32, "0", 0x89abcdef, 0x76543210, 0, CF, 0x89abcdef,
            0x76543210, CF, ALL)
        ROW(shrd32, "1", 0x89abcdef, 0x76543210, 1, CF, 0x44d5e6f7,
            0x76543210, CF | OF, LOGIC)
        ROW(shrd32, "27", 0x89abcdef, 0x76543210, 0x1b, CF, 0xca864211,
            0x76543210, PF | SF, SHIFT)
#ifdef __x86_64__
        ROW(add64, "overflow", 0x7fffffffffffffff, 1, 0, 0,
            0x8000000000000000, 1, PF | AF | SF | OF, ALL)
        ROW(add64, "carry", 0xffffffffffffffff, 1, 0, OF, 0, 1,
            CF | PF | AF | ZF, ALL)
        ROW(add64, "pattern", 0x123456789abcdef, 0xfedcba9876543245, 0, 0,
            0x34, 0xfedcba9876543245, CF | AF, ALL)
        ROW(adc64, "carry-in", 0xffffffffffffffff, 0, 0, CF, 0, 0,
            CF | PF | AF | ZF, ALL)
        ROW(sub64, "borrow", 0, 1, 0, 0, 0xffffffffffffffff, 1,
            CF | PF | AF | SF, ALL)
        ROW(sub64, "overflow", 0x8000000000000000, 1, 0, CF,
            0x7fffffffffffffff, 1, PF | AF | OF, ALL)
        ROW(sbb64, "borrow-in", 0, 0xffffffffffffffff, 0, CF | ZF, 0,
            0xffffffffffffffff, CF | PF | AF | ZF, ALL)
        ROW(cmp64, "equal", 0x123456789abcdef, 0x123456789abcdef, 0,
            CF | SF | OF, 0x123456789abcdef, 0x123456789abcdef, PF | ZF, ALL)
        ROW(inc64, "carry-kept", 0x7fffffffffffffff, 0, 0, CF,
            0x8000000000000000, 0, CF | PF | AF | SF | OF, ALL)
        ROW(dec64, "wrap", 0, 0, 0, 0, 0xffffffffffffffff, 0, PF | AF | SF, ALL)
        ROW(neg64, "least", 0x8000000000000000, 0, 0, 0, 0x8000000000000000,
            0, CF | PF | SF | OF, ALL)
        ROW(neg64, "zero", 0, 0, 0, ALL, 0, 0, PF | ZF, ALL)
        ROW(and64, "none", 0x123456789abcdef, 0xfedcba9876543210, 0, ALL, 0,
            0xfedcba9876543210, PF | ZF, LOGIC)
        ROW(or64, "all", 0x123456789abcdef, 0xfedcba9876543210, 0, CF | OF,
            0xffffffffffffffff, 0xfedcba9876543210, PF | SF, LOGIC)
        ROW(xor64, "some", 0x123456789abcdef, 0x123456789abcd6f, 0, CF | OF,
            0x80, 0x123456789abcd6f, 0, LOGIC)
        ROW(bswap64, "pattern", 0x123456789abcdef, 0, 0, CF | ZF,
            0xefcdab8967452301, 0, CF | ZF, ALL)
        ROW(bsf64, "low", 0, 0x91a2b3c4d5e6f780, 0, ZF, 7, 0x91a2b3c4d5e6f780,
            0, ZF)
        ROW(bsr64, "high", 0, 0x2468acf13579bd, 0, ZF, 0x35, 0x2468acf13579bd,
            0, ZF)
        ROW(bt64, "modulo", 0x2000000000000000, 0x7d, 0, 0,
            0x2000000000000000, 0x7d, CF, CF)
        ROW(mul64, "both-high", 0x123456789abcdef, 0xfedcba9876543210, 0, 0,
            0x2236d88fe5618cf0, 0x121fa00ad77d742, CF | OF, CF | OF)
        ROW(mul64, "most", 0xffffffffffffffff, 0xffffffffffffffff, 0, 0, 1,
            0xfffffffffffffffe, CF | OF, CF | OF)
        ROW(mul64, "small", 0x10001, 0x7fff, 0, CF | OF, 0x7fff7fff, 0, 0,
            CF | OF)
        ROW(imul64, "pattern", 0x123456789abcdef, 0xfedcba9876543210, 0, 0,
            0x2236d88fe5618cf0, 0xfffeb49923cc0953, CF | OF, CF | OF)
        ROW(imul64, "minus-one", 0xffffffffffffffff, 0xffffffffffffffff, 0,
            CF | OF, 1, 0, 0, CF | OF)
        ROW(imul64, "least", 0x8000000000000000, 0xffffffffffffffff, 0, 0,
            0x8000000000000000, 0, CF | OF, CF | OF)
        ROW(div64, "by-ten", 0x123456789abcdef, 0, 0xa, 0, 0x1d208a5a912e31,
            5, 0, 0)
        ROW(div64, "wide", 0x123456789abcdef, 0x7f6e5d4c3b2a1908,
            0xfedcba9876543210, 0, 0x8000000000000000, 0x123456789abcdef, 0, 0)
        ROW(div64, "most", 0xffffffffffffffff, 0xfffffffffffffffe,
            0xffffffffffffffff, 0, 0xffffffffffffffff, 0xfffffffffffffffe, 0, 0)
        ROW(div64, "by-half", 0xfedcba9876543210, 0, 0x1234567, 0,
            0xe0000069e0, 0x38f0, 0, 0)
        ROW(idiv64, "by-ten", 0xfedcba9876543211, 0xffffffffffffffff, 0xa, 0,
            0xffe2df75a56ed1cf, 0xfffffffffffffffb, 0, 0)
        ROW(idiv64, "by-minus-two", 7, 0, 0xfffffffffffffffe, 0,
            0xfffffffffffffffd, 1, 0, 0)
        ROW(idiv64, "of-minus-seven", 0xfffffffffffffff9, 0xffffffffffffffff,
            2, 0, 0xfffffffffffffffd, 0xffffffffffffffff, 0, 0)
        ROW(idiv64, "wide", 0xfedcba9876543210, 0xfffffffffffffffd,
            0x7f6e5d4c3b2a1908, 0, 0xfffffffffffffffc, 0xfc962fc962fc9630, 0, 0)
        ROW(shl64, "0", 0x8123456789abcdef, 0, 0, CF, 0x8123456789abcdef, 0,
            CF, ALL)
        ROW(shl64, "1", 0x8123456789abcdef, 0, 1, CF, 0x2468acf13579bde, 0,
            CF | PF | OF, LOGIC)
        ROW(shl64, "29", 0x8123456789abcdef, 0, 0x1d, PF, 0xf13579bde0000000,
            0, PF | SF, SHIFT)
        ROW(shl64, "63", 0x8123456789abcdef, 0, 0x3f, CF, 0x8000000000000000,
            0, CF | PF | SF, SHIFT)
        ROW(shl64, "65", 0x8123456789abcdef, 0, 0x41, CF, 0x2468acf13579bde,
            0, CF | PF | OF, LOGIC)
        ROW(shr64, "0", 0x8123456789abcdef, 0, 0, CF, 0x8123456789abcdef, 0,
            CF, ALL)
        ROW(shr64, "1", 0x8123456789abcdef, 0, 1, CF, 0x4091a2b3c4d5e6f7, 0,
            CF | OF, LOGIC)
        ROW(shr64, "29", 0x8123456789abcdef, 0, 0x1d, PF, 0x4091a2b3c, 0, PF,
            SHIFT)
        ROW(shr64, "63", 0x8123456789abcdef, 0, 0x3f, CF, 1, 0, 0, SHIFT)
        ROW(shr64, "65", 0x8123456789abcdef, 0, 0x41, CF, 0x4091a2b3c4d5e6f7,
            0, CF | OF, LOGIC)
        ROW(sar64, "0", 0x8123456789abcdef, 0, 0, CF, 0x8123456789abcdef, 0,
            CF, ALL)
        ROW(sar64, "1", 0x8123456789abcdef, 0, 1, CF, 0xc091a2b3c4d5e6f7, 0,
            CF | SF, LOGIC)
        ROW(sar64, "29", 0x8123456789abcdef, 0, 0x1d, PF, 0xfffffffc091a2b3c,
            0, PF | SF, SHIFT)
        ROW(sar64, "63", 0x8123456789abcdef, 0, 0x3f, CF, 0xffffffffffffffff,
            0, PF | SF, SHIFT)
        ROW(sar64, "65", 0x8123456789abcdef, 0, 0x41, CF, 0xc091a2b3c4d5e6f7,
            0, CF | SF, LOGIC)
        ROW(rol64, "0", 0x8123456789abcdef, 0, 0, CF, 0x8123456789abcdef, 0,
            CF, ALL)
        ROW(rol64, "1", 0x8123456789abcdef, 0, 1, CF, 0x2468acf13579bdf, 0,
            CF | OF, ALL)
        ROW(rol64, "29", 0x8123456789abcdef, 0, 0x1d, PF, 0xf13579bdf02468ac,
            0, PF, ROTATE)
        ROW(rol64, "63", 0x8123456789abcdef, 0, 0x3f, CF, 0xc091a2b3c4d5e6f7,
            0, CF, ROTATE)
        ROW(rol64, "65", 0x8123456789abcdef, 0, 0x41, CF, 0x2468acf13579bdf,
            0, CF | OF, ALL)
        ROW(ror64, "0", 0x8123456789abcdef, 0, 0, CF, 0x8123456789abcdef, 0,
            CF, ALL)
        ROW(ror64, "1", 0x8123456789abcdef, 0, 1, CF, 0xc091a2b3c4d5e6f7, 0,
            CF, ALL)
        ROW(ror64, "29", 0x8123456789abcdef, 0, 0x1d, PF, 0x4d5e6f7c091a2b3c,
            0, PF, ROTATE)
        ROW(ror64, "63", 0x8123456789abcdef, 0, 0x3f, CF, 0x2468acf13579bdf,
            0, 0, ROTATE)
        ROW(ror64, "65", 0x8123456789abcdef, 0, 0x41, CF, 0xc091a2b3c4d5e6f7,
            0, CF, ALL)
        ROW(rcl64, "0", 0x8123456789abcdef, 0, 0, CF, 0x8123456789abcdef, 0,
            CF, ALL)
        ROW(rcl64, "1", 0x8123456789abcdef, 0, 1, CF, 0x2468acf13579bdf, 0,
            CF | OF, ALL)
        ROW(rcl64, "29", 0x8123456789abcdef, 0, 0x1d, PF, 0xf13579bde8123456,
            0, PF, ROTATE)
        ROW(rcl64, "63", 0x8123456789abcdef, 0, 0x3f, CF, 0xe048d159e26af37b,
            0, CF, ROTATE)
        ROW(rcl64, "65", 0x8123456789abcdef, 0, 0x41, CF, 0x2468acf13579bdf,
            0, CF | OF, ALL)
        ROW(rcr64, "0", 0x8123456789abcdef, 0, 0, CF, 0x8123456789abcdef, 0,
            CF, ALL)
        ROW(rcr64, "1", 0x8123456789abcdef, 0, 1, CF, 0xc091a2b3c4d5e6f7, 0,
            CF, ALL)
        ROW(rcr64, "29", 0x8123456789abcdef, 0, 0x1d, PF, 0x9abcdef4091a2b3c,
            0, PF, ROTATE)
        ROW(rcr64, "63", 0x8123456789abcdef, 0, 0x3f, CF, 0x48d159e26af37bf,
            0, 0, ROTATE)
        ROW(rcr64, "65", 0x8123456789abcdef, 0, 0x41, CF, 0xc091a2b3c4d5e6f7,
            0, CF, ALL)
        ROW(shld64, "0", 0x123456789abcdef, 0xfedcba9876543210, 0, CF,
            0x123456789abcdef, 0xfedcba9876543210, CF, ALL)
        ROW(shld64, "1", 0x123456789abcdef, 0xfedcba9876543210, 1, CF,
            0x2468acf13579bdf, 0xfedcba9876543210, 0, LOGIC)
        ROW(shld64, "59", 0x123456789abcdef, 0xfedcba9876543210, 0x3b, CF,
            0x7ff6e5d4c3b2a190, 0xfedcba9876543210, CF | PF, SHIFT)
        ROW(shrd64, "0", 0x123456789abcdef, 0xfedcba9876543210, 0, CF,
            0x123456789abcdef, 0xfedcba9876543210, CF, ALL)
        ROW(shrd64, "1", 0x123456789abcdef, 0xfedcba9876543210, 1, CF,
            0x91a2b3c4d5e6f7, 0xfedcba9876543210, CF, LOGIC)
        ROW(shrd64, "59", 0x123456789abcdef, 0xfedcba9876543210, 0x3b, CF,
            0xdb97530eca864200, 0xfedcba9876543210, PF | SF, SHIFT)
#endif
#undef ROW
};

#endif
