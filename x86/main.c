/* Where every image's C code begins, and what lib asks of the machine. */
#include "../lib/platform.h"
#include "../lib/suite.h"
#include "boot/boot.h"
#include "cmdline.h"
#include "console.h"
#include "cpu.h"
#include "desc.h"
#include "memory.h"
#include "paging.h"
#include "smp.h"

_Noreturn void machine_main(u32 boot_path, const char *text);

static const struct registry_info info
        __attribute__((used, section(".vmxt.info"), aligned(8))) = {
                .magic = { 'V', 'M', 'X', 'T', 'R', 'E', 'G', '1' },
                .pointer_size = sizeof(void *),
                .case_size = sizeof(struct test_case),
};

_Noreturn void machine_main(u32 boot_path, const char *text)
{
        static const char names[][12] = {
                [BOOT_ROM] = "rom",
                [BOOT_MULTIBOOT] = "multiboot",
                [BOOT_PVH] = "pvh",
        };

        cmdline_init(text);
        outb(0x21, 0xff);  /* both 8259s: everything masked */
        outb(0xa1, 0xff);
        desc_init_idt();
        desc_init_cpu(this_cpu());
        paging_init();
        memory_init();
        console_init();
        suite_run(cmdline(), names[boot_path]);
}

const u8 *image_build_id(size_t *size)
{
        extern const struct {
                u32 name_size, size, type;
                char name[4];  /* "GNU" */
                u8 id[];
        } build_id_note;

        *size = build_id_note.size;
        return build_id_note.id;
}
