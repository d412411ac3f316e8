/*
 * 64-bit division for 32-bit builds: what the compiler calls, so that no
 * libgcc is needed (a 64-bit toolchain often has none for -m32).
 */
#ifndef __x86_64__
#include "../lib/types.h"

u64 __udivmoddi4(u64 a, u64 b, u64 *rest);
u64 __udivdi3(u64 a, u64 b);
u64 __umoddi3(u64 a, u64 b);
s64 __divdi3(s64 a, s64 b);
s64 __moddi3(s64 a, s64 b);
s64 __divmoddi4(s64 a, s64 b, s64 *rest);

u64 __udivmoddi4(u64 a, u64 b, u64 *rest)
{
        u64 q = 0, r = 0;

        if (b >> 32 == 0) {
                u32 d = (u32)b, low = (u32)a, high = (u32)(a >> 32);
                u32 q_low, r_low;

                asm("divl %4" : "=a"(q_low), "=d"(r_low)
                    : "0"(low), "1"(high % d), "rm"(d) : "cc");
                q = (u64)(high / d) << 32 | q_low;
                r = r_low;
        } else {
                /* The quotient has 32 bits at most: long division. */
                r = a >> 32;
                for (int i = 31; i >= 0; i--) {
                        bool carry = r >> 63;

                        r = r << 1 | (a >> i & 1);
                        if (carry || r >= b) {
                                r -= b;
                                q |= 1u << i;
                        }
                }
        }
        if (rest)
                *rest = r;
        return q;
}

u64 __udivdi3(u64 a, u64 b)
{
        return __udivmoddi4(a, b, NULL);
}

u64 __umoddi3(u64 a, u64 b)
{
        u64 r;

        __udivmoddi4(a, b, &r);
        return r;
}

/* The rest has the sign of the dividend. */
s64 __divmoddi4(s64 a, s64 b, s64 *rest)
{
        u64 r;
        u64 q = __udivmoddi4(a < 0 ? -(u64)a : (u64)a,
                             b < 0 ? -(u64)b : (u64)b, &r);

        if (rest)
                *rest = (s64)(a < 0 ? -r : r);
        return (s64)((a < 0) != (b < 0) ? -q : q);
}

s64 __divdi3(s64 a, s64 b)
{
        return __divmoddi4(a, b, NULL);
}

s64 __moddi3(s64 a, s64 b)
{
        s64 r;

        __divmoddi4(a, b, &r);
        return r;
}
#endif
