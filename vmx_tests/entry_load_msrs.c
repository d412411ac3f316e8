/*
 * SDM Vol. 3, VM Entries > Loading Guest State > Loading Guest Control
 * Registers, Debug Registers, and MSRs: the MSRs that every VM entry loads, and
 * IA32_EFER. Before each entry the MSR has another value than it shall get.
 */
#include "lib/check.h"
#include "x86/cpu.h"
#include "x86/memory.h"
#include "x86/paging.h"
#include "x86/vmx/event.h"
#include "x86/vmx/exit_probe.h"
#include "x86/vmx/guest_env.h"
#include "x86/vmx/guest_msr.h"
#include "x86/vmx/segment.h"
#include "x86/vmx/session.h"

#define SDM "VM Entries > Loading Guest Control Registers, Debug Registers, and MSRs"

FAMILY(sysenter_cs, 4, .id = "entry.load.sysenter-cs",
       .title = "IA32_SYSENTER_CS is the field, 63:32 are 0", .sdm = SDM,
       .rules = "ENTL_SYSENTER_CS", .needs = "use-msr-bitmaps")
{
        static const u32 values[] = { 0, 0x8, 0x5a5a5a5a, 0xffffffff };
        struct vm *vm = vm_begin(GUEST_NATIVE);
        u64 host = 0xa5a5a5a500000000 | (u32)~values[row];

        vm_allow_msrs(vm);
        vmwrite(VMCS_GUEST_SYSENTER_CS, values[row]);
        /* A processor may refuse, or drop, what the MSR does not define. */
        if (wrmsr_safe(MSR_IA32_SYSENTER_CS, host).raised)
                wrmsr(MSR_IA32_SYSENTER_CS, (u32)host);
        CHECK_EQ("IA32_SYSENTER_CS in the guest",
                 vm_rdmsr(vm, MSR_IA32_SYSENTER_CS), values[row]);
}

struct address_row {
        struct row head;
        enum guest_mode mode;
        u32 msr, field;
        bool unusable;       /* of a segment's base: that segment */
};

/* In a 32-bit host the field is written with bits 63:32 = 0. */
static void check_address(const struct address_row *r)
{
        static const u64 values[] = {
                0x00007ffffffffff1, 0xffff800000000002, 0x80000003, 0,
        };

        for (unsigned i = 0; i < ARRAY_LEN(values); i++) {
                struct vm *vm = vm_begin(r->mode);
                u64 want = sizeof(ulong) == 8 ? values[i] : (u32)values[i];
                bool high = cpuid_bit(0x80000001, 0, 'd', 29);

                vm_allow_msrs(vm);
                vmwrite(r->field, (ulong)want);
                if (r->unusable)
                        vm_control(r->field - SEG_BASE(0) + SEG_RIGHTS(0),
                                   AR_UNUSABLE, 0);
                wrmsr(r->msr, high ? ~values[i] : (u32)~values[i]);
                CHECK_EQ("the MSR in the guest", vm_rdmsr(vm, r->msr), want);
        }
}

#define SYSENTER(name, guest, needs_)                                       \
        { ROW("esp." name, NULL, NULL, needs_), guest,                      \
          MSR_IA32_SYSENTER_ESP, VMCS_GUEST_SYSENTER_ESP },                 \
        { ROW("eip." name, NULL, NULL, needs_), guest,                      \
          MSR_IA32_SYSENTER_EIP, VMCS_GUEST_SYSENTER_EIP }

static const struct address_row sysenter_rows[] = {
        SYSENTER("native", GUEST_NATIVE, NULL),
        SYSENTER("compat", GUEST_COMPAT, "host64"),
        SYSENTER("pae", GUEST_PAE, "host64"),
        SYSENTER("protected", GUEST_PROTECTED, "unrestricted-guest"),
};

TABLE(sysenter, sysenter_rows, .id = "entry.load.sysenter",
      .title = "IA32_SYSENTER_ESP or IA32_SYSENTER_EIP is the field, all of it",
      .sdm = SDM, .rules = "ENTL_SYSENTER_ESP_EIP", .needs = "use-msr-bitmaps")
{
        check_address(case_row(self, row));
}

#define BASES(name, guest, needs_)                                           \
        { ROW("fs." name, NULL, NULL, needs_), guest, MSR_IA32_FS_BASE,      \
          VMCS_GUEST_FS_BASE },                                              \
        { ROW("gs." name, NULL, NULL, needs_), guest, MSR_IA32_GS_BASE,      \
          VMCS_GUEST_GS_BASE },                                              \
        { ROW("fs.unusable." name, NULL, NULL, needs_), guest,               \
          MSR_IA32_FS_BASE, VMCS_GUEST_FS_BASE, true },                      \
        { ROW("gs.unusable." name, NULL, NULL, needs_), guest,               \
          MSR_IA32_GS_BASE, VMCS_GUEST_GS_BASE, true }

static const struct address_row base_rows[] = {
        BASES("native", GUEST_NATIVE, NULL),
        BASES("compat", GUEST_COMPAT, "host64"),
        BASES("pae", GUEST_PAE, "host64"),
};

TABLE(bases, base_rows, .id = "entry.load.base-msr",
      .title = "the MSR of FS.base or GS.base is the segment's base",
      .sdm = SDM, .rules = "ENTL_FS_GS_BASE_MSRS ENTL_SEG_FS_GS_UNUSABLE_BASE",
      .needs = "use-msr-bitmaps intel64")
{
        const struct address_row *r = case_row(self, row);

        check_address(r);
        /* The last of them, once more with an address that is not 0. */
        vmwrite(r->field, (ulong)0x7ffffffff000);
        CHECK_EQ("the MSR in the guest", vm_rdmsr(&this_vmx()->vm, r->msr),
                 (ulong)0x7ffffffff000);
        CHECK_EQ("the base that the VM exit saved", vmread(r->field),
                 (ulong)0x7ffffffff000);
}

/* The bits of IA32_EFER that software may change at any time. */
static u64 free_bits(void)
{
        u64 bits = 0;

        if (cpuid_bit(0x80000001, 0, 'd', 29))
                bits |= EFER_SCE;
        if (cpuid_bit(0x80000001, 0, 'd', 20))
                bits |= EFER_NXE;
        return bits;
}

static struct {
        u64 efer, star, lstar;
} host;

static void save_host(void)
{
        host.efer = rdmsr(MSR_IA32_EFER);
}

static void restore_host(void)
{
        wrmsr(MSR_IA32_EFER, host.efer);
}

/* What the guest reads, entered with the host's free bits of IA32_EFER = @bits. */
static u64 guest_efer(struct vm *vm, u64 bits)
{
        u64 efer;

        vm_allow_msrs(vm);
        wrmsr(MSR_IA32_EFER, (host.efer & ~free_bits()) | bits);
        efer = vm_rdmsr(vm, MSR_IA32_EFER);
        restore_host();
        return efer;
}

#define KEPT (~0ull)

struct efer_row {
        struct row head;
        enum guest_mode mode;
        u64 mode_bits;       /* of LME and LMA; KEPT: LME as in the host */
};

#define LONG_BITS (EFER_LME | EFER_LMA)
#define LME_PG1 "ENTL_EFER_NOLOAD_LMA ENTL_EFER_NOLOAD_LME_PG1"
#define LME_PG0 "ENTL_EFER_NOLOAD_LMA ENTL_EFER_NOLOAD_LME_PG0"
static const struct efer_row efer_rows[] = {
        { ROW("long", NULL, LME_PG1, "host64"), GUEST_LONG, LONG_BITS },
        { ROW("compat", NULL, LME_PG1, "host64"), GUEST_COMPAT, LONG_BITS },
        { ROW("pae", NULL, LME_PG1), GUEST_PAE, 0 },
        { ROW("32", NULL, LME_PG1), GUEST_32, 0 },
        { ROW("protected", NULL, LME_PG0, "unrestricted-guest"),
          GUEST_PROTECTED, KEPT },
        { ROW("real", NULL, LME_PG0, "unrestricted-guest"), GUEST_REAL, KEPT },
};

/* The field, where there is one, has the other value of each bit. */
TABLE(efer_kept, efer_rows, .id = "entry.load.efer.not-loaded",
      .title = "without \"load IA32_EFER\" LMA and, with paging, LME follow the "
               "mode, and the other bits are the host's", .sdm = SDM,
      .rules = "ENTL_EFER_NOLOAD_OTHER_BITS",
      .needs = "use-msr-bitmaps intel64")
{
        const struct efer_row *r = case_row(self, row);
        u64 free = free_bits(), mode_bits = r->mode_bits;

        save_host();
        if (mode_bits == KEPT)
                mode_bits = host.efer & EFER_LME;
        for (unsigned i = 0; i < 4; i++) {
                u64 bits = ((i & 1 ? EFER_SCE : 0) | (i & 2 ? EFER_NXE : 0)) &
                           free;
                struct vm *vm = vm_begin(r->mode);

                if (vmcs_has(VMCS_GUEST_EFER))
                        vmwrite(VMCS_GUEST_EFER,
                                (bits | mode_bits) ^ (free | LONG_BITS));
                CHECK_EQ("IA32_EFER in the guest", guest_efer(vm, bits),
                         bits | mode_bits);
        }
}

PROGRAM(start_paging, 32, "mov %cr0, %eax\nor $0x80000000, %eax\n"
        "mov %eax, %cr0\nmov $0xc0000080, %ecx\nrdmsr\nvmcall\n");

/* MOV to CR0 is the third instruction. */
#define MOV_TO_CR0 8

CASE(lme_used, .id = "entry.load.efer.lme-unpaged",
     .title = "an unpaged guest of a 64-bit host has LME = 1: with paging it is "
              "in IA-32e mode", .sdm = SDM,
     .rules = "ENTL_EFER_NOLOAD_LME_PG0",
     .needs = "unrestricted-guest use-msr-bitmaps host64")
{
        for (unsigned pae = 0; pae < 2; pae++) {
                struct vm *vm = vm_begin(GUEST_PROTECTED);

                vm_allow_msrs(vm);
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vmwrite(VMCS_GUEST_CR3, phys(guest_env()->pml4));
                vm_control(VMCS_GUEST_CR4, pae ? CR4_PAE : 0,
                           pae ? 0 : CR4_PAE);
                vm_program(vm, start_paging);
                vm_poison(0);
                if (!pae) {
                        CHECK_EXIT("CR0.PG = 1 with LME = 1 and CR4.PAE = 0",
                                   vm_enter(vm), EXITS(EXIT_EXCEPTION_NMI));
                        CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_GP), 0);
                        CHECK_VMCS(GUEST_RIP, vm->entry_rip + MOV_TO_CR0);
                        continue;
                }
                CHECK_EXIT("CR0.PG = 1 with LME = 1 and CR4.PAE = 1",
                           vm_enter(vm), EXITS(EXIT_VMCALL));
                CHECK_MASKED("IA32_EFER in the guest", vm->regs.rax,
                             LONG_BITS, LONG_BITS);
        }
}

#define LOADED(name, guest, needs_)                                         \
TABLE(efer_##name, load_rows, .id = "entry.load.efer." #name,               \
      .title = "IA32_EFER is the field, not the host's", .sdm = SDM,        \
      .rules = "ENTL_EFER_LOADED",                                          \
      .needs = "load-ia32-efer-entry use-msr-bitmaps " needs_)              \
{                                                                           \
        efer_loaded(guest, ((const struct efer_bits *)                      \
                            case_row(self, row))->bits);                    \
}

struct efer_bits {
        struct row head;
        u64 bits;
};

static const struct efer_bits load_rows[] = {
        { ROW("none", NULL, NULL, "nx"), 0 },
        { ROW("sce", NULL, NULL, "intel64"), EFER_SCE },
        { ROW("nxe", NULL, NULL, "nx"), EFER_NXE },
        { ROW("sce-nxe", NULL, NULL, "intel64 nx"), EFER_SCE | EFER_NXE },
};

static void efer_loaded(enum guest_mode mode, u64 bits)
{
        struct vm *vm = vm_begin(mode);
        u64 field = vmread(VMCS_GUEST_EFER) | bits;

        save_host();
        vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_EFER, 0);
        vmwrite(VMCS_GUEST_EFER, field);
        CHECK_EQ("IA32_EFER in the guest", guest_efer(vm, bits ^ free_bits()),
                 field);
}
LOADED(long, GUEST_LONG, "host64")
LOADED(pae, GUEST_PAE, "")
LOADED(protected, GUEST_PROTECTED, "unrestricted-guest")

CASE(lme_loaded, .id = "entry.load.efer.lme-unpaged.loaded",
     .title = "LME of an unpaged guest is the field's", .sdm = SDM,
     .rules = "ENTL_EFER_LOADED",
     .needs = "load-ia32-efer-entry use-msr-bitmaps unrestricted-guest intel64")
{
        save_host();
        for (u64 lme = 0; lme <= EFER_LME; lme += EFER_LME) {
                struct vm *vm = vm_begin(GUEST_PROTECTED);

                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_EFER, 0);
                vmwrite(VMCS_GUEST_EFER, lme);
                CHECK_EQ("IA32_EFER in the guest", guest_efer(vm, 0), lme);
        }
}

PROGRAM(read_page, NATIVE_BITS, "mov (%" CX "), %al\nvmcall\n");

/* Bit 63 of a PTE is reserved while NXE is 0. */
CASE(nxe_effect, .id = "entry.load.efer.nxe-effect",
     .title = "NXE = 1 from the field: a page may be execute-disable",
     .sdm = SDM, .rules = "ENTL_EFER_LOADED",
     .needs = "load-ia32-efer-entry nx")
{
        save_host();
        for (u64 nxe = 0; nxe <= EFER_NXE; nxe += EFER_NXE) {
                struct vm *vm = vm_begin(GUEST_NATIVE);
                u8 *page = page_alloc(1);
                struct vmx_result got;

                *vm_pte(vm, page) |= PTE_NX;
                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_EFER, 0);
                vm_control(VMCS_GUEST_EFER, nxe, 0);
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_program(vm, read_page);
                vm->regs.rcx = (ulong)page;
                vm_poison(0);
                wrmsr(MSR_IA32_EFER, (host.efer & ~(u64)EFER_NXE) |
                                     (nxe ^ EFER_NXE));
                got = vm_enter(vm);
                restore_host();
                if (nxe) {
                        CHECK_EXIT("read of the page with NXE = 1", got,
                                   EXITS(EXIT_VMCALL));
                        continue;
                }
                CHECK_EXIT("read of the page with NXE = 0", got,
                           EXITS_WITH(EXIT_EXCEPTION_NMI, (ulong)page));
                CHECK_EXITING_EVENT(HARDWARE_CODE(VEC_PF), PF_P | PF_RSVD);
        }
}

#ifdef __x86_64__
PROGRAM(system_call, 64, "syscall\nvmcall\n");

CASE(sce_effect, .id = "entry.load.efer.sce-effect",
     .title = "SCE = 1 from the field: SYSCALL runs", .sdm = SDM,
     .rules = "ENTL_EFER_LOADED", .needs = "load-ia32-efer-entry host64")
{
        save_host();
        host.star = rdmsr(MSR_IA32_STAR);
        host.lstar = rdmsr(MSR_IA32_LSTAR);
        wrmsr(MSR_IA32_STAR, (u64)SEL_CODE64 << 32);
        wrmsr(MSR_IA32_LSTAR, (ulong)program_vmcall.start);
        for (u64 sce = 0; sce <= EFER_SCE; sce += EFER_SCE) {
                struct vm *vm = vm_begin(GUEST_LONG);
                struct vmx_result got;

                vm_control(VMCS_ENTRY_CONTROLS, CTL_ENTRY_LOAD_EFER, 0);
                vm_control(VMCS_GUEST_EFER, sce, 0);
                vmwrite(VMCS_EXCEPTION_BITMAP, 0xffffffff);
                vm_program(vm, system_call);
                vm_poison(0);
                wrmsr(MSR_IA32_EFER, (host.efer & ~(u64)EFER_SCE) |
                                     (sce ^ EFER_SCE));
                got = vm_enter(vm);
                restore_host();
                if (sce) {
                        CHECK_EXIT("SYSCALL with SCE = 1", got,
                                   EXITS(EXIT_VMCALL));
                        CHECK_VMCS(GUEST_RIP, (ulong)program_vmcall.start);
                        continue;
                }
                CHECK_EXIT("SYSCALL with SCE = 0", got,
                           EXITS(EXIT_EXCEPTION_NMI));
                CHECK_EXITING_EVENT(HARDWARE(VEC_UD), 0);
        }
        wrmsr(MSR_IA32_STAR, host.star);
        wrmsr(MSR_IA32_LSTAR, host.lstar);
}
#endif
