/* What identifies the processor under test, for every result file. */
#include "lib/platform.h"
#include "lib/report.h"
#include "lib/string.h"
#include "x86/cpu.h"
#include "x86/msr.h"
#include "x86/vmx/caps.h"

static void vendor_and_brand(void)
{
        struct cpuid c = cpuid(0, 0);
        u32 vendor[4] = { c.b, c.d, c.c, 0 };
        u32 brand[13] = { 0 };

        report_fingerprint_text("vendor", (const char *)vendor);
        if (cpuid(0x80000000, 0).a < 0x80000004)
                return;
        for (u32 i = 0; i < 3; i++) {
                c = cpuid(0x80000002 + i, 0);
                memcpy(&brand[4 * i], (u32[]){ c.a, c.b, c.c, c.d }, 16);
        }
        report_fingerprint_text("brand", (const char *)brand);
}

/*
 * The microcode's revision, as SDM Vol. 3, Microcode Update Facilities >
 * Authenticating the Update reads it: 0 into the register, CPUID, RDMSR.
 */
static void microcode(void)
{
        u64 value;

        if (wrmsr_safe(MSR_IA32_BIOS_SIGN_ID, 0).raised)
                return;
        cpuid(1, 0);
        if (!rdmsr_safe(MSR_IA32_BIOS_SIGN_ID, &value).raised)
                report_fingerprint("microcode", value >> 32);
}

void machine_fingerprint(void)
{
        struct cpuid c = cpuid(1, 0);
        u32 family = c.a >> 8 & 15, model = c.a >> 4 & 15;

        if (family == 6 || family == 15)
                model |= c.a >> 12 & 0xf0;
        if (family == 15)
                family += c.a >> 20 & 0xff;
        vendor_and_brand();
        report_fingerprint("family", family);
        report_fingerprint("model", model);
        report_fingerprint("stepping", c.a & 15);
        report_fingerprint("cpuid_1_ecx", c.c);
        report_fingerprint("physical_bits", physical_address_width());
        microcode();
        if (vmx_caps()->vmx)
                vmx_caps_each(report_fingerprint);
}
