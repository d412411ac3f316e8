/* The bits of registers, vectors and error codes, for C and for assembler. */
#ifndef X86_CPU_BITS_H
#define X86_CPU_BITS_H

#ifdef __ASSEMBLER__
#define BIT32(n) (1 << (n))
#else
#include "../lib/types.h"
#define BIT32(n) (1u << (n))
#endif

#define CR0_PE BIT32(0)
#define CR0_MP BIT32(1)
#define CR0_EM BIT32(2)
#define CR0_TS BIT32(3)
#define CR0_ET BIT32(4)
#define CR0_NE BIT32(5)
#define CR0_WP BIT32(16)
#define CR0_AM BIT32(18)
#define CR0_NW BIT32(29)
#define CR0_CD BIT32(30)
#define CR0_PG BIT32(31)

#define CR3_PWT BIT32(3)
#define CR3_PCD BIT32(4)

#define CR4_VME BIT32(0)
#define CR4_PVI BIT32(1)
#define CR4_TSD BIT32(2)
#define CR4_DE BIT32(3)
#define CR4_PSE BIT32(4)
#define CR4_PAE BIT32(5)
#define CR4_MCE BIT32(6)
#define CR4_PGE BIT32(7)
#define CR4_PCE BIT32(8)
#define CR4_OSFXSR BIT32(9)
#define CR4_OSXMMEXCPT BIT32(10)
#define CR4_UMIP BIT32(11)
#define CR4_LA57 BIT32(12)
#define CR4_VMXE BIT32(13)
#define CR4_SMXE BIT32(14)
#define CR4_FSGSBASE BIT32(16)
#define CR4_PCIDE BIT32(17)
#define CR4_OSXSAVE BIT32(18)
#define CR4_KL BIT32(19)
#define CR4_SMEP BIT32(20)
#define CR4_SMAP BIT32(21)
#define CR4_PKE BIT32(22)
#define CR4_CET BIT32(23)
#define CR4_PKS BIT32(24)

#define RFLAGS_CF BIT32(0)
#define RFLAGS_FIXED BIT32(1)  /* always 1 */
#define RFLAGS_PF BIT32(2)
#define RFLAGS_AF BIT32(4)
#define RFLAGS_ZF BIT32(6)
#define RFLAGS_SF BIT32(7)
#define RFLAGS_TF BIT32(8)
#define RFLAGS_IF BIT32(9)
#define RFLAGS_DF BIT32(10)
#define RFLAGS_OF BIT32(11)
#define RFLAGS_IOPL (BIT32(12) | BIT32(13))
#define RFLAGS_NT BIT32(14)
#define RFLAGS_RF BIT32(16)
#define RFLAGS_VM BIT32(17)
#define RFLAGS_AC BIT32(18)
#define RFLAGS_VIF BIT32(19)
#define RFLAGS_VIP BIT32(20)
#define RFLAGS_ID BIT32(21)
/* The flags that an arithmetic instruction defines. */
#define RFLAGS_ARITH (RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | \
                      RFLAGS_SF | RFLAGS_OF)

#define DR6_B0 BIT32(0)
#define DR6_B1 BIT32(1)
#define DR6_B2 BIT32(2)
#define DR6_B3 BIT32(3)
#define DR6_BLD BIT32(11)      /* 0: bus lock (inverted, as RTM) */
#define DR6_BD BIT32(13)
#define DR6_BS BIT32(14)
#define DR6_BT BIT32(15)
#define DR6_RTM BIT32(16)      /* 0: in an RTM region */
#define DR6_INIT 0xffff0ff0u    /* after reset */
#define DR7_L(n) BIT32(((n) * 2))
#define DR7_G(n) (2u << ((n) * 2))
#define DR7_LE BIT32(8)
#define DR7_GE BIT32(9)
#define DR7_FIXED BIT32(10)
#define DR7_RTM BIT32(11)
#define DR7_GD BIT32(13)
#define DR7_RW(n, v) ((u32)(v) << (16 + (n) * 4))
#define DR7_LEN(n, v) ((u32)(v) << (18 + (n) * 4))
#define DR7_INIT 0x400u         /* after reset */

/* Vectors. */
#define VEC_DE 0
#define VEC_DB 1
#define VEC_NMI 2
#define VEC_BP 3
#define VEC_OF 4
#define VEC_BR 5
#define VEC_UD 6
#define VEC_NM 7
#define VEC_DF 8
#define VEC_TS 10
#define VEC_NP 11
#define VEC_SS 12
#define VEC_GP 13
#define VEC_PF 14
#define VEC_MF 16
#define VEC_AC 17
#define VEC_MC 18
#define VEC_XM 19
#define VEC_VE 20
#define VEC_CP 21

/* Page-fault error code. */
#define PF_P BIT32(0)
#define PF_W BIT32(1)
#define PF_U BIT32(2)
#define PF_RSVD BIT32(3)
#define PF_I BIT32(4)
#define PF_PK BIT32(5)
#define PF_SS BIT32(6)

/* Selector error codes. */
#define ERR_EXT BIT32(0)
#define ERR_IDT BIT32(1)
#define ERR_TI BIT32(2)

#endif
