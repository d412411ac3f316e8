#include "crc.h"

u16 crc16(u16 crc, const void *data, size_t size)
{
        const u8 *p = data;

        /* The eight steps of a byte at once: this polynomial has few terms. */
        while (size--) {
                u32 x = (u32)(crc >> 8) ^ *p++;

                x ^= x >> 4;
                crc = (u16)((u32)crc << 8 ^ x << 12 ^ x << 5 ^ x);
        }
        return crc;
}
