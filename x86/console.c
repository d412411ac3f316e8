/*
 * Output by the first of: the parameter out=; port 0xE9 (the debug console of
 * Bochs and QEMU, which reads as E9H); the UART at 3F8H, if there is one.
 * out=ring:ADDRESS is memory that somebody outside reads while the kernel runs:
 * under a nested VMM each access to a port costs tens of thousands of
 * instructions, and a store costs one.
 */
#include "console.h"
#include "../lib/select.h"
#include "boot/boot.h"
#include "cmdline.h"
#include "cpu.h"

#define E9 0xe9

#define UART 0x3f8
#define UART_THR (UART + 0)
#define UART_DLL (UART + 0)
#define UART_IER (UART + 1)
#define UART_DLH (UART + 1)
#define UART_FCR (UART + 2)
#define UART_IIR (UART + 2)
#define UART_LCR (UART + 3)
#define UART_MCR (UART + 4)
#define UART_LSR (UART + 5)
#define LCR_8N1 0x03
#define LCR_DLAB 0x80
#define FCR_ENABLE_CLEAR 0x07
#define IIR_FIFO 0xc0
#define MCR_DTR_RTS 0x03
#define LSR_THRE 0x20   /* the FIFO is empty */
#define LSR_TEMT 0x40   /* the shift register too */

/* A UART that stays busy for so many reads is taken for dead. */
#define UART_PATIENCE 10000000

static enum { NOWHERE, TO_E9, TO_UART, TO_RING } output;

/* The reader sets size, a power of two, before the start, and moves tail. */
static volatile struct ring {
        u32 size;
        u32 head, tail;         /* both run on, modulo 2^32 */
        u32 reserved;
        u8 bytes[];
} *ring;

static unsigned fifo;   /* bytes that fit when LSR_THRE is set */

static void uart_init(void)
{
        if (inb(UART_LSR) == 0xff)
                return;  /* nobody answers there */
        output = TO_UART;
        outb(UART_IER, 0);
        outb(UART_LCR, LCR_DLAB | LCR_8N1);
        outb(UART_DLL, 1);  /* 115200 baud */
        outb(UART_DLH, 0);
        outb(UART_LCR, LCR_8N1);
        outb(UART_FCR, FCR_ENABLE_CLEAR);
        outb(UART_MCR, MCR_DTR_RTS);
        fifo = (inb(UART_IIR) & IIR_FIFO) == IIR_FIFO ? 16 : 1;
}

static void uart_wait(u8 mask)
{
        for (unsigned i = 0; i < UART_PATIENCE; i++) {
                if (inb(UART_LSR) & mask)
                        return;
        }
        output = NOWHERE;
}

static void ring_init(const char *address)
{
        uintptr_t where = 0;

        for (; (*address >= '0' && *address <= '9') || (*address >= 'a' && *address <= 'f'); address++)
                where = where << 4 | (*address <= '9' ? *address - '0' : *address - 'a' + 10);
        ring = (volatile struct ring *)where;
        output = ring->size ? TO_RING : NOWHERE;
}

static void ring_write(const char *text, size_t size)
{
        for (; size; size--) {
                while (ring->head - ring->tail == ring->size)
                        pause();
                ring->bytes[ring->head & (ring->size - 1)] = *text++;
                ring->head++;
        }
}

void console_init(void)
{
        const char *out = parameter(cmdline(), "out");

        if (out && out[0] == 'r')
                ring_init(out + sizeof("ring:") - 1);
        else if (out ? out[0] == 'e' : inb(E9) == E9)
                output = TO_E9;
        else
                uart_init();
}

void console_write(const char *text, size_t size)
{
        if (output == TO_E9)
                outs(E9, text, size);
        if (output == TO_RING)
                ring_write(text, size);
        while (size && output == TO_UART) {
                size_t n = size < fifo ? size : fifo;

                uart_wait(LSR_THRE);
                outs(UART_THR, text, n);
                text += n;
                size -= n;
        }
}

void console_flush(void)
{
        if (output == TO_UART)
                uart_wait(LSR_TEMT);
}

/* In a stack of ROMs: this one is done; the next one begins with a hardware reset. */
static void reset(void)
{
        u8 status;

        outb(0x70, CMOS_SHUTDOWN_STATUS);
        status = inb(0x71);
        outb(0x70, CMOS_SHUTDOWN_STATUS);
        outb(0x71, status + 1);
        lidt((struct desc_ptr){ 0, 0 });
        asm volatile("ud2");
}

void machine_end(void)
{
        static const char shutdown[] = "Shutdown";
        const char *end = parameter(cmdline(), "end");

        console_flush();
        if (end && end[0] == 'r')
                reset();
        outb(0xf4, 0);
        outs(0x8900, shutdown, sizeof(shutdown) - 1);
        for (;;) {
                cli();
                hlt();
        }
}
