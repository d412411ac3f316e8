/*
 * The first process of the appliance's inner host.
 *
 * It loads KVM, then runs one QEMU after the other, as the runner asks. It is a
 * library that is loaded into QEMU itself and takes the place of its main(): most
 * of a QEMU's start on a slow machine is the dynamic linker's work, so this is
 * done once, and each request runs QEMU's own main() in a fork of this process.
 *
 * Requests come through the first ATA disk, which is a file of the runner's:
 * sector 0 says what to do, the sectors behind it hold QEMU's arguments and the
 * kernel's ROM. Everything there is to say goes through the parallel port, as
 * frames; the port is a FIFO of the runner's and takes no emulated time. Both are
 * driven from here by port I/O: the inner host's kernel knows nothing of them, so
 * none of its drivers has to be loaded and none of its buffers can lose anything.
 *
 * The other side is vmxtrunner/appliance.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* Frames: the kind, the length of what follows (24 bits, little endian), the bytes. */
enum frame {
        FRAME_READY = 'r',      /* the inner host is up: what it is */
        FRAME_BEGIN = 'b',      /* a request was taken: its number */
        FRAME_OUTPUT = 'o',     /* bytes of the running kernel */
        FRAME_NOISE = 'e',      /* what QEMU wrote to its standard error */
        FRAME_END = 'x',        /* QEMU is gone: how */
        FRAME_BROKEN = 'm',     /* the inner host cannot work: why */
};

enum request {
        REQUEST_NONE,
        REQUEST_RUN,
        REQUEST_KILL,
};

enum {
        SECTOR = 512,
        MAX_COUNT = 256,        /* sectors of one READ SECTORS command */
        ATA_DATA = 0x1f0,
        ATA_COUNT = 0x1f2,
        ATA_LBA = 0x1f3,
        ATA_DEVICE = 0x1f6,
        ATA_COMMAND = 0x1f7,    /* status when read */
        ATA_CONTROL = 0x3f6,
        ATA_READ = 0x20,
        ATA_NO_INTERRUPT = 0x02,
        ATA_BUSY = 0x80,
        ATA_DATA_READY = 0x08,
        ATA_ERROR = 0x01,
        PRINTER_DATA = 0x378,
        PRINTER_CONTROL = 0x37a,
        PRINTER_IDLE = 0x0c,
        PRINTER_STROBE = 0x0d,
        MAX_ARGUMENTS = 128,
        POLL_MS = 10,
        /*
         * While a guest runs. Each look takes the processor from it, and KVM loses
         * an injected INT1 if that comes between its preparation and the entry.
         */
        LOOK_MS = 100,
};

/* Sector 0. The runner writes it last; @check is the complement of @number. */
struct mail {
        char magic[8];
        uint32_t number, request;
        uint32_t text_sector, text_bytes;
        uint32_t rom_sector, rom_bytes;
        uint32_t memory_bytes, ring_bytes;
        uint32_t check;
};

/*
 * A kernel's output: the end of its memory (out=ring: in lib/PROTOCOL.md), which
 * is a file here. It costs no VM exit, and outlives a QEMU that is killed.
 */
static struct ring {
        uint32_t size;
        volatile uint32_t head, tail;   /* head is the kernel's */
        uint32_t reserved;
        uint8_t bytes[];
} *ring;
static size_t ring_mapped;

static int (*real_main)(int, char **, char **);

static const char mail_magic[8] = "VMXTMAIL";
static const char rom_path[] = "/tmp/kernel.rom";
static const char modules[][48] = {
        "irqbypass.ko", "",
        "kvm.ko", "",
        "kvm-intel.ko", "nested=1 enable_apicv=0",
};

static void send_bytes(const uint8_t *bytes, size_t count)
{
        while (count--) {
                outb(*bytes++, PRINTER_DATA);
                outb(PRINTER_STROBE, PRINTER_CONTROL);
                outb(PRINTER_IDLE, PRINTER_CONTROL);
        }
}

static void send_frame(enum frame kind, const void *bytes, size_t count)
{
        const uint8_t head[4] = { kind, count, count >> 8, count >> 16 };

        send_bytes(head, sizeof(head));
        send_bytes(bytes, count);
}

static void __attribute__((format(printf, 2, 3))) say(enum frame kind, const char *format, ...)
{
        char text[512];
        va_list list;
        int length;

        va_start(list, format);
        length = vsnprintf(text, sizeof(text), format, list);
        va_end(list);
        if (length >= (int)sizeof(text))
                length = sizeof(text) - 1;
        send_frame(kind, text, length);
}

static void __attribute__((noreturn)) give_up(const char *what)
{
        say(FRAME_BROKEN, "%s: %s", what, strerror(errno));
        for (;;)
                pause();
}

static bool read_sectors(uint32_t first, unsigned count, void *to)
{
        uint8_t *place = to;
        uint8_t status;

        while (count) {
                unsigned now = count < MAX_COUNT ? count : MAX_COUNT;

                outb(ATA_NO_INTERRUPT, ATA_CONTROL);
                outb(now, ATA_COUNT);
                outb(first, ATA_LBA);
                outb(first >> 8, ATA_LBA + 1);
                outb(first >> 16, ATA_LBA + 2);
                outb(0xe0 | (first >> 24 & 0xf), ATA_DEVICE);
                outb(ATA_READ, ATA_COMMAND);
                first += now;
                count -= now;
                while (now--) {
                        do
                                status = inb(ATA_COMMAND);
                        while (status & ATA_BUSY);
                        if (status & ATA_ERROR || !(status & ATA_DATA_READY))
                                return false;
                        insw(ATA_DATA, place, SECTOR / 2);
                        place += SECTOR;
                }
        }
        return true;
}

static void drain(void)
{
        uint32_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);

        if (head - ring->tail > ring->size)     /* the kernel writes where it should not */
                ring->tail = head - ring->size;
        while (ring->tail != head) {
                uint32_t from = ring->tail & (ring->size - 1), count = head - ring->tail;

                if (count > ring->size - from)
                        count = ring->size - from;
                send_frame(FRAME_OUTPUT, ring->bytes + from, count);
                ring->tail += count;
        }
}

static void *read_bytes(uint32_t sector, uint32_t bytes)
{
        unsigned count = (bytes + SECTOR - 1) / SECTOR;
        void *memory = malloc((size_t)(count + 1) * SECTOR);

        if (!memory || !read_sectors(sector, count, memory))
                give_up("cannot read a request");
        ((char *)memory)[bytes] = 0;
        return memory;
}

/* Whether a request newer than *number is there. */
static bool new_mail(struct mail *mail, uint32_t *number)
{
        uint8_t sector[SECTOR];

        if (!read_sectors(0, 1, sector))
                give_up("cannot read the disk");
        memcpy(mail, sector, sizeof(*mail));
        if (memcmp(mail->magic, mail_magic, sizeof(mail_magic)) || mail->check != ~mail->number)
                return false;
        if (mail->number == *number)
                return false;
        *number = mail->number;
        return true;
}

static void load_module(const char *name, const char *options)
{
        char path[64];
        int file;

        snprintf(path, sizeof(path), "/%.48s", name);
        file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0 || syscall(SYS_finit_module, file, options, 0))
                give_up(name);
        close(file);
        unlink(path);
}

static void write_rom(const struct mail *mail)
{
        char *rom = read_bytes(mail->rom_sector, mail->rom_bytes);
        int file = open(rom_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

        if (file < 0 || write(file, rom, mail->rom_bytes) != (ssize_t)mail->rom_bytes)
                give_up(rom_path);
        close(file);
        free(rom);
}

/* QEMU's arguments are in the request, each ended by a NUL. */
static void __attribute__((noreturn)) become_qemu(const struct mail *mail)
{
        char *text = read_bytes(mail->text_sector, mail->text_bytes), *end = text + mail->text_bytes;
        char **words = calloc(MAX_ARGUMENTS + 1, sizeof(*words));
        unsigned count = 0;

        for (char *word = text; word < end && count < MAX_ARGUMENTS; word += strlen(word) + 1)
                words[count++] = word;
        if (iopl(0))
                _exit(127);
        setsid();
        exit(real_main(count, words, environ));
}

static pid_t start(const struct mail *mail, int noise)
{
        pid_t child = fork();

        if (child < 0)
                give_up("fork");
        if (child)
                return child;
        dup2(noise, STDOUT_FILENO);
        dup2(noise, STDERR_FILENO);
        dup2(open("/dev/null", O_RDWR), STDIN_FILENO);
        become_qemu(mail);
}

/* Passes on what QEMU had to say itself; false at the end of the pipe. */
static bool pass_on(int noise)
{
        uint8_t buffer[4096];
        ssize_t got = read(noise, buffer, sizeof(buffer));

        if (got > 0)
                send_frame(FRAME_NOISE, buffer, got);
        return got > 0;
}

/* The memory of the next kernel: empty, and its ring ready. */
static void make_memory(const struct mail *mail)
{
        static const char path[] = "/tmp/memory";
        int file = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
        size_t size = sizeof(*ring);

        if (ring)
                munmap(ring, ring_mapped);
        ring_mapped = mail->ring_bytes;
        if (file < 0 || ftruncate(file, mail->memory_bytes))
                give_up(path);
        ring = mmap(NULL, ring_mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                    mail->memory_bytes - ring_mapped);
        if (ring == MAP_FAILED)
                give_up(path);
        close(file);
        ring->size = 1;
        while (size + 2 * ring->size <= ring_mapped)
                ring->size *= 2;
}

static void run(const struct mail *mail, uint32_t *number)
{
        bool killed = false;
        struct pollfd noise;
        struct mail next;
        int ends[2], status = 0;
        pid_t child;

        say(FRAME_BEGIN, "%u", mail->number);
        write_rom(mail);
        make_memory(mail);
        if (pipe2(ends, O_CLOEXEC))
                give_up("pipe");
        child = start(mail, ends[1]);
        close(ends[1]);
        noise = (struct pollfd){ .fd = ends[0], .events = POLLIN };
        /* The pipe ends with the last process of this QEMU, whatever it forked. */
        do {
                poll(&noise, 1, LOOK_MS);
                drain();
                if (!killed && new_mail(&next, number) && next.request == REQUEST_KILL) {
                        kill(-child, SIGKILL);
                        kill(child, SIGKILL);
                        killed = true;
                }
        } while (!noise.revents || pass_on(ends[0]));
        waitpid(child, &status, 0);
        drain();
        close(ends[0]);
        if (WIFSIGNALED(status))
                say(FRAME_END, "signal %d%s", WTERMSIG(status), killed ? " asked" : "");
        else
                say(FRAME_END, "status %d%s", WEXITSTATUS(status), killed ? " asked" : "");
}

/*
 * Half of what is left of a QEMU's start is the making of its object classes,
 * which is the same every time. They need no argument and touch no device, and
 * QEMU does not make them again: so make them before the first fork.
 */
static void make_classes(void)
{
        enum { MODULE_INIT_QOM = 3 };
        void (*call_init)(int) = dlsym(RTLD_DEFAULT, "module_call_init");
        void *(*get_list)(const char *, bool) = dlsym(RTLD_DEFAULT, "object_class_get_list");

        if (!call_init || !get_list)
                return;
        call_init(MODULE_INIT_QOM);
        get_list("machine", false);
}

static int agent_main(int count, char **words, char **environment)
{
        uint32_t number = 0;
        struct utsname system;
        struct mail mail;

        (void)count, (void)words, (void)environment;
        if (iopl(3))
                return 1;
        unsetenv("LD_PRELOAD");
        mount("proc", "/proc", "proc", 0, NULL);
        mount("sys", "/sys", "sysfs", 0, NULL);
        for (unsigned i = 0; i < sizeof(modules) / sizeof(modules[0]); i += 2)
                load_module(modules[i], modules[i + 1]);
        make_classes();
        uname(&system);
        say(FRAME_READY, "Linux %s", system.release);
        for (;;) {
                if (!new_mail(&mail, &number))
                        usleep(POLL_MS * 1000);
                else if (mail.request == REQUEST_RUN)
                        run(&mail, &number);
        }
}

int __libc_start_main(int (*program)(int, char **, char **), int count, char **words,
                      void (*init)(void), void (*fini)(void), void (*linker)(void), void *stack)
{
        int (*real)(int (*)(int, char **, char **), int, char **, void (*)(void),
                    void (*)(void), void (*)(void), void *) = dlsym(RTLD_NEXT, __func__);

        real_main = program;
        return real(getpid() == 1 ? agent_main : program, count, words, init, fini, linker, stack);
}
