"""How each kind of target starts one kernel: files made, command line composed."""
import os
import re

from . import ranges
from .boot import KVM_STOPS, Boot, Launch
from .errors import Infrastructure

SLOT_MAGIC = b"VMXT-CMDLINE-01\0"
SLOT_SIZE = 4096
MAX_CMDLINE = SLOT_SIZE - len(SLOT_MAGIC) - 1
MAX_RANGES = 500  # what the kernel takes (lib/suite.c), with a margin
FOUR_GIB = 1 << 32


def fitting(indices):
    """The longest beginning of @indices that one boot's parameters can name."""
    return ranges.fitting(indices, MAX_CMDLINE - 64, MAX_RANGES)


def processors_for(cases, most):
    """The number of processors that @cases need (tokens cpus-N), at most @most."""
    need = 1
    for case in cases:
        for token in "|".join(case.needs).split("|"):
            if token.startswith("cpus-") and token[5:].isdigit():
                need = max(need, int(token[5:]))
    return min(need, most)


def patched_rom(kernel, cmdline):
    """The kernel's ROM with @cmdline in its slot."""
    try:
        with open(kernel.rom, "rb") as stream:
            rom = bytearray(stream.read())
    except OSError as error:
        raise Infrastructure(f"{kernel.rom}: {error.strerror}") from error
    if not rom.startswith(SLOT_MAGIC):
        raise Infrastructure(f"{kernel.rom}: no command-line slot at its beginning")
    text = cmdline.encode("ascii")
    rom[len(SLOT_MAGIC) : SLOT_SIZE] = text.ljust(SLOT_SIZE - len(SLOT_MAGIC), b"\0")
    return rom


class Launcher:
    """Starts the boots of one slot (of -j), one at a time.

    A target whose one start serves many kernels can keep its machine between
    two calls of start() and give it up in close().
    """

    def __init__(self, target):
        self.target = target
        self._inner = None
        if target.kind == "appliance":
            from . import appliance

            self._inner = appliance.InnerHosts(target)

    def start(self, kernel, indices, folder):
        """A Boot of @kernel that runs the cases @indices; @folder is empty and private."""
        cases = [kernel.cases[index] for index in indices]
        processors = processors_for(cases, self.target.limits["processors"])
        cmdline = f"cases={ranges.text_of(indices)} cpus={processors}"
        if self._inner:
            def rom(output):
                return patched_rom(kernel, f"{cmdline} {output}")

            return self._inner.start(rom, processors, folder)
        compose = {"bochs": _bochs, "qemu": _qemu, "command": _command}[self.target.kind]
        return Boot(compose(self.target, kernel, cmdline, processors, folder))

    def close(self):
        if self._inner:
            self._inner.close()


def _write_rom(kernel, cmdline, folder):
    path = os.path.join(folder, "kernel.rom")
    with open(path, "wb") as stream:
        stream.write(patched_rom(kernel, cmdline))
    return path, os.path.getsize(path)


# What the suite does not use is off: a start takes 50 ms, not 70. The plugin
# `unmapped` has the port that ends the process. The term display needs a TERM,
# any will do, and opens no port.
_BOCHSRC = """\
display_library: term
romimage: file=kernel.rom, address={address:#x}
vgaromimage: file=vga.rom
memory: guest={memory}, host={memory}
cpu: model={cpu}, count={processors}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs=0
clock: sync=none
pci: enabled=0
vga: extension=none, update_freq=1
ata0: enabled=0
ata1: enabled=0
plugin_ctrl: unmapped=1, speaker=0, parallel=0, extfpuirq=0, gameport=0, biosdev=0, iodebug=0
com1: enabled=1, mode=file, dev=serial.log
log: bochs.log
info: action=ignore
error: action=report
panic: action=fatal
"""


def write_vga_rom(folder):
    """Bochs insists on a VGA BIOS: one that returns at once."""
    rom = bytearray(512)
    rom[:4] = b"\x55\xaa\x01\xcb"
    rom[-1] = -sum(rom) & 0xFF
    with open(os.path.join(folder, "vga.rom"), "wb") as stream:
        stream.write(rom)


def _bochs(target, kernel, cmdline, processors, folder):
    options = target.options
    _path, size = _write_rom(kernel, cmdline + " out=uart", folder)
    write_vga_rom(folder)
    text = _BOCHSRC.format(
        address=FOUR_GIB - size,
        memory=options["memory"],
        cpu=target.cpu,
        processors=processors,
        ips=options["ips"],
    )
    argv, environment = target.program()
    with open(os.path.join(folder, "bochsrc"), "w", encoding="ascii") as stream:
        stream.write(text + "".join(f"{line}\n" for line in options["extra"]))
    with open(os.path.join(folder, "continue"), "w", encoding="ascii") as stream:
        stream.write("c\n")  # the debugger that Debian builds in waits for this
    return Launch(
        argv=[*argv, "-q", "-f", "bochsrc", "-rc", "continue"],
        stream="file",
        path=os.path.join(folder, "serial.log"),
        environment={**environment, "TERM": "dumb"},
        logs=[os.path.join(folder, "bochs.log")],
        file_limit=4 * 1024 * target.limits["stream"],
        folder=folder,
    )


def _qemu(target, kernel, cmdline, processors, folder):
    options = target.options
    serial = os.path.join(folder, "serial.log")
    uart = options["output"] == "uart"
    cmdline += " out=uart" if uart else " out=e9"
    argv = [target.binary, "-nodefaults", "-display", "none", "-no-reboot", "-no-user-config"]
    argv += ["-accel", options["accel"], "-M", options["machine"], "-cpu", target.cpu]
    argv += ["-m", str(options["memory"]), "-smp", str(processors)]
    argv += ["-chardev", "file,id=out,path=serial.log"]
    argv += ["-serial", "chardev:out"] if uart else ["-device", "isa-debugcon,iobase=0xe9,chardev=out"]
    argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    if options["boot"] == "bios":
        _write_rom(kernel, cmdline, folder)
        argv += ["-bios", "kernel.rom"]
    else:
        argv += ["-kernel", os.path.abspath(kernel.elf), "-append", cmdline]
    return Launch(
        argv=argv + list(options["extra"]),
        stream="file",
        path=serial,
        environment={},
        logs=[],
        file_limit=4 * 1024 * target.limits["stream"],
        folder=folder,
        fatal=KVM_STOPS,
    )


def _command(target, kernel, cmdline, processors, folder):
    options = target.options
    path, _size = _write_rom(kernel, cmdline, folder)
    values = {
        "{rom}": path,
        "{elf}": os.path.abspath(kernel.elf),
        "{cmdline}": cmdline,
        "{serial}": os.path.join(folder, "serial.log"),
        "{dir}": folder,
        "{here}": os.path.dirname(os.path.abspath(target.path)),
        "{cpu}": target.cpu,
        "{cpus}": str(processors),
        "{memory}": str(options["memory"]),
    }
    argv = [re.sub(r"\{[a-z]+\}", lambda m: values.get(m[0], m[0]), w) for w in options["command"]]
    if "/" in argv[0]:
        argv[0] = os.path.abspath(argv[0])
    return Launch(
        argv=argv,
        stream=options["output"],
        path=values["{serial}"],
        environment={},
        logs=[],
        file_limit=0,
        folder=folder,
    )
