"""The nested host in a box: Linux/KVM inside Bochs, running one QEMU after the other.

InnerHost is the Bochs process with its Linux; it lives as long as it behaves.
InnerBoot is one QEMU in it, and looks to the engine like any other boot. The
other side of the conversation is appliance/agent.c: requests are written to the
file that is the emulated machine's disk, answers come as frames through the FIFO
that is its printer.
"""
import os
import re
import select
import shutil
import struct
import tempfile
import time

from . import appliance_image, packages
from .boot import KVM_STOPS, Boot, Launch
from .machines import write_vga_rom

# The disk: the request in sector 0, then the text and the ROM.
SECTOR = 512
TEXT, ROM = 8, 64  # sectors
DISK_SECTORS = 16 * 16 * 32
MAIL = struct.Struct("<8s9I")
RUN, KILL = 1, 2
RING = 1 << 20  # bytes at the end of the kernel's memory that its output goes through

KILL_PATIENCE = 10.0  # seconds in which the inner host must obey

_BOCHSRC = f"""\
display_library: term
romimage: file={{rom}}, address=0xffff0000
vgaromimage: file=vga.rom
optramimage1: file={{memory}}, address={appliance_image.START:#x}
memory: guest={appliance_image.MEMORY}, host={appliance_image.MEMORY}
cpu: model={{cpu}}, count=1, ips={appliance_image.IPS}, reset_on_triple_fault=0, ignore_bad_msrs=1
clock: sync=none
pci: enabled=0
vga: extension=none, update_freq=1
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path=disk.img, mode=flat, cylinders=16, heads=16, spt=32
ata1: enabled=0
plugin_ctrl: unmapped=1, speaker=0, parallel=1, extfpuirq=0, gameport=0, biosdev=0, iodebug=0
com1: enabled=1, mode=file, dev=linux.log
parport1: enabled=1, file=answers
log: bochs.log
info: action=ignore
error: action=ignore
panic: action=fatal
"""


class InnerHost:
    """One Bochs process and the Linux in it."""

    def __init__(self, target, folder):
        self.folder = folder
        self.number = 0  # of the last request
        self.release = ""  # what Linux calls itself, once it is up
        self.trouble = ""  # why it cannot go on
        self._rest = b""
        image = appliance_image.ensure(target.linux)
        self._disk = os.open(os.path.join(folder, "disk.img"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._disk, DISK_SECTORS * SECTOR)
        # Bochs's configuration has no quoting: it sees names without blanks.
        for name, path in (("memory.img", image.memory), ("boot.rom", image.rom)):
            os.symlink(os.path.abspath(path), os.path.join(folder, name))
        text = _BOCHSRC.format(rom="boot.rom", memory="memory.img", cpu=target.cpu)
        argv, environment = target.program()
        write_vga_rom(folder)
        text += "".join(f"{line}\n" for line in target.options["extra"])
        with open(os.path.join(folder, "bochsrc"), "w", encoding="ascii") as stream:
            stream.write(text)
        with open(os.path.join(folder, "continue"), "w", encoding="ascii") as stream:
            stream.write("c\n")
        self._launch = Launch(
            argv=[*argv, "-q", "-f", "bochsrc", "-rc", "continue"],
            stream="pipe",
            path=os.path.join(folder, "answers"),
            environment={**environment, "TERM": "dumb"},
            logs=[],
            file_limit=1 << 26,
            folder=folder,
        )
        self._boot = None

    def ask(self, request, words=(), rom=b"", memory=0):
        """Writes a request; the first one before Bochs starts. Its number."""
        self.number += 1
        text = b"".join(os.fsencode(word) + b"\0" for word in words)
        os.pwrite(self._disk, text, TEXT * SECTOR)
        os.pwrite(self._disk, rom, ROM * SECTOR)
        fields = (self.number, request, TEXT, len(text), ROM, len(rom), memory, RING)
        # Last, and within one sector: the other side sees all of it or nothing.
        os.pwrite(self._disk, MAIL.pack(b"VMXTMAIL", *fields, ~self.number & 0xFFFFFFFF), 0)
        if self._boot is None:
            self._boot = Boot(self._launch)
        return self.number

    def frames(self):
        """The (kind, bytes) that came since the last call."""
        data = self._rest + self._boot.read()
        self._boot.data.clear()
        found, at = [], 0
        while len(data) - at >= 4:
            size = int.from_bytes(data[at + 1 : at + 4], "little")
            if len(data) - at - 4 < size:
                break
            found.append((chr(data[at]), data[at + 4 : at + 4 + size]))
            at += 4 + size
        self._rest = data[at:]
        for kind, text in found:
            if kind == "r":
                self.release = text.decode("ascii", "replace")
            elif kind == "m":
                self.trouble = text.decode("utf-8", "replace")
        return found

    def wait(self, seconds):
        select.select([self._boot._stream], [], [], seconds)

    def gone(self):
        """Why nothing more can come from it, or an empty text."""
        if self.trouble:
            return f"the inner host gave up: {self.trouble}"
        if not self._boot.exited():
            return ""
        return self._panic() or "Bochs ended"

    def _panic(self):
        lines = self.log().splitlines()
        panics = [line.partition("] ")[2] or line for line in lines if "Kernel panic" in line]
        return f"the inner host: {panics[0].strip()}" if panics else ""

    def log(self, since=0):
        """What Linux wrote to its console, from byte @since on."""
        try:
            with open(os.path.join(self.folder, "linux.log"), "rb") as stream:
                stream.seek(since)
                return stream.read(1 << 18).decode("utf-8", "replace")
        except OSError:
            return ""

    def close(self):
        if self._boot is not None:
            self._boot.stop()
        if self._disk >= 0:
            os.close(self._disk)
            self._disk = -1
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def bochs(self):
        return self._boot


class InnerBoot:
    """One kernel under one QEMU of the inner host; see boot.Boot."""

    pidfd = -1

    def __init__(self, host, words, rom, memory, folder):
        self.host = host
        self.launch = Launch(words, "frames", "", {}, [], 0, folder)
        self.data = bytearray()
        self.killed = False
        self._noise = bytearray()
        self._begun = self._over = False
        self._end = self._stopped = ""
        self._log_from = len(host.log())
        self._number = host.ask(RUN, words, rom, memory)

    def exited(self):
        return self._over

    def read(self):
        parts = []
        for kind, text in self.host.frames():
            if kind == "b":
                self._begun = text == str(self._number).encode()
            elif not self._begun or self._over:
                continue
            elif kind == "o":
                parts.append(text)
            elif kind == "e":
                self._noise += text[: max(0, (1 << 16) - len(self._noise))]
                self._look_for_stop()
            elif kind == "x":
                self._over, self._end = True, text.decode("ascii", "replace")
        if not self._over and self.host.gone():
            self._over, self._end = True, self.host.gone()
            parts += [text for kind, text in self.host.frames() if kind == "o" and self._begun]
        data = b"".join(parts)
        self.data += data
        return data

    def _look_for_stop(self):
        """After some errors QEMU stops the machine and waits: it is not waited for."""
        found = not self._stopped and re.search(KVM_STOPS, self._noise)
        if found:
            self._stopped = found[0].decode("utf-8", "replace").strip()
            self.host.ask(KILL)

    def hands_on(self):
        return False

    def stop(self):
        """Has QEMU killed if it still runs; a host that does not obey is ended."""
        rest = self.read()
        if not self._over:
            self.killed = True
            self.host.ask(KILL)
            until = time.monotonic() + KILL_PATIENCE
            while not self._over and time.monotonic() < until:
                self.host.wait(0.05)
                rest += self.read()
        if not self._over:
            self._end = "the inner host did not answer"
            self.host.trouble = self.host.trouble or "it did not answer"
        return rest

    def how_it_ended(self):
        if self._stopped:
            return f"QEMU in the inner host: {self._stopped}"
        word, _space, value = self._end.partition(" ")
        if word == "status":
            return f"QEMU in the inner host: exit status {value}"
        if word == "signal":
            return f"QEMU in the inner host: killed by signal {value}"
        return self._end or "still running"

    def target_log(self, limit=1 << 18):
        texts = {
            "QEMU in the inner host": self._noise.decode("utf-8", "replace"),
            f"the inner host ({self.host.release or 'not up'})": self.host.log(self._log_from),
        }
        if self._over and self.host.gone():
            texts["Bochs"] = self.host.bochs.target_log(limit)
        parts = [f"==> {name} <==\n{text[-limit:].strip()}\n" for name, text in texts.items() if text.strip()]
        return "\n".join(parts)


class InnerHosts:
    """What a launcher keeps between two boots: at most one inner host."""

    def __init__(self, target):
        self.target = target
        self._host = None

    def start(self, rom, processors, folder):
        """A boot of the image that rom(OUTPUT PARAMETER) makes."""
        if self._host is not None and self._host.gone():
            self.close()
        if self._host is None:
            parent = os.path.dirname(os.path.abspath(folder))
            self._host = InnerHost(self.target, tempfile.mkdtemp(prefix="inner-", dir=parent))
        options = self.target.options
        memory = options["memory"] << 20
        image = rom(f"out=ring:{memory:x}")
        words = qemu_words(options, memory + RING, processors)
        return InnerBoot(self._host, words, image, memory + RING, folder)

    def close(self):
        if self._host is not None:
            self._host.close()
            self._host = None


def qemu_words(options, memory, processors):
    """QEMU's command line in the inner host; the kernel's output is in its memory."""
    words = ["/qemu", "-nodefaults", "-display", "none", "-no-reboot", "-no-user-config"]
    words += ["-accel", "kvm", "-M", f"{options['machine']},memory-backend=memory"]
    words += ["-object", f"memory-backend-file,id=memory,mem-path=/tmp/memory,share=on,size={memory}"]
    words += ["-m", f"{memory}B", "-cpu", options["inner_cpu"], "-smp", str(processors)]
    words += ["-bios", "/tmp/kernel.rom"]
    return words + ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]


def packaged_bochs(name):
    """(argv, environment) of a Bochs out of the cache, which brings its own libraries."""
    with packages.locked():
        program = packages.Catalogue().program(name)
        program.ensure()
    # Before Debian 13 the C library is in /lib.
    folders = [os.path.join(program.root, way, "lib/x86_64-linux-gnu") for way in ("usr", "")]
    libraries = folders[0]
    argv = [program.find("*lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")]
    argv += ["--library-path", ":".join(folders)]
    argv.append(os.path.join(program.root, "usr/bin/bochs-bin"))
    environment = {
        "LTDL_LIBRARY_PATH": os.path.join(libraries, "bochs/plugins"),
        "BXSHARE": os.path.join(program.root, "usr/share/bochs"),
    }
    return argv, environment
