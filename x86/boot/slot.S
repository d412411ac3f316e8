/* The beginning of every ROM: its command line, lib/PROTOCOL.md > Parameters. */
#include "boot.h"

        .section .text
        .asciz "VMXT-CMDLINE-01"
        .org ROM_SLOT
