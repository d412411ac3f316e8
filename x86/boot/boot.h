/* What the boot code and the rest of the machine layer agree on. */
#ifndef X86_BOOT_H
#define X86_BOOT_H

#define BOOT_ROM 0
#define BOOT_MULTIBOOT 1
#define BOOT_PVH 2

#define IMAGE_ADDRESS 0x100000  /* where every image is linked, see link.ld */
#define ROM_SLOT 4096           /* the command line's, at the ROM's beginning */
#define ROM_STACK 4095          /* a byte: how many ROMs follow each other downwards */
#define ROM_MAGIC 0x54584d56    /* "VMXT", of the slot and of the ROM header */

/* The ROM header: doublewords behind the multiboot header, from this offset. */
#define ROM_HEADER 16

/* The byte of CMOS RAM that tells a reset's reason; see lib/PROTOCOL.md > A stack of ROMs. */
#define CMOS_SHUTDOWN_STATUS 0x0f

#define AP_PAGE 0x8000          /* where other processors begin */
#define LOW_START 0x10000       /* low_page() gives these pages */
#define LOW_END 0x80000

#endif
