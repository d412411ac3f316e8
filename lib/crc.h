/* CRC-16/CCITT-FALSE: polynomial 1021H, initial value FFFFH, not reflected. */
#ifndef LIB_CRC_H
#define LIB_CRC_H

#include "types.h"

#define CRC16_INITIAL 0xffff

u16 crc16(u16 crc, const void *data, size_t size);

#endif
