"""How each kind of target starts one kernel: files made, command line composed."""
import os
import re

from . import ranges
from .boot import KVM_STOPS, Boot, Launch
from .chain import Chain
from .errors import Infrastructure

SLOT_MAGIC = b"VMXT-CMDLINE-01\0"
SLOT_SIZE = 4096
MAX_CMDLINE = SLOT_SIZE - len(SLOT_MAGIC) - 2
STACK_SIZE = SLOT_SIZE - 1  # the byte of the slot with the number of ROMs in a stack
MAX_RANGES = 500  # what the kernel takes (lib/suite.c), with a margin
FOUR_GIB = 1 << 32
# Bochs takes a ROM of 128 or 256 KiB for a chip that programs can write to.
MIN_STACK = 5 << 16


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

    def processors(self, kernel, indices):
        """The number of processors that these cases of @kernel get."""
        cases = [kernel.cases[index] for index in indices]
        return processors_for(cases, self.target.limits["processors"])

    def start(self, kernel, indices, folder):
        """A Boot of @kernel that runs the cases @indices; @folder is empty and private."""
        processors = self.processors(kernel, indices)
        cmdline = f"cases={ranges.text_of(indices)} cpus={processors}"
        if self._inner:
            def rom(output):
                return patched_rom(kernel, f"{cmdline} {output}")

            return self._inner.start(rom, processors, folder)
        if self.target.kind == "bochs":
            rom = patched_rom(kernel, f"{cmdline} out=uart")
            return Boot(_bochs(self.target, rom, processors, folder))
        compose = {"qemu": _qemu, "command": _command}[self.target.kind]
        return Boot(compose(self.target, kernel, cmdline, processors, folder))

    def start_chain(self, members, folder):
        """Boots of one process, one for each (kernel, indices) of @members, in this order.

        More than one: only of one processor, on a target with the option `chain`.
        """
        if len(members) == 1:
            return [self.start(*members[0], folder)]
        stack = b""
        for number, (kernel, indices) in enumerate(members, 1):
            cmdline = f"cases={ranges.text_of(indices)} cpus=1 out=uart"
            end = " end=reset" if number < len(members) else ""
            rom = patched_rom(kernel, cmdline + end)
            rom[STACK_SIZE] = len(members)
            stack = rom + stack
        stack = stack.rjust(MIN_STACK, b"\0")
        launch = _bochs(self.target, stack, 1, folder, resets=len(members))
        return Chain(launch, len(members)).links

    def close(self):
        if self._inner:
            self._inner.close()


def _write_rom(rom, folder):
    path = os.path.join(folder, "kernel.rom")
    with open(path, "wb") as stream:
        stream.write(rom)
    return path


# What the suite does not use is off: a start takes 50 ms, not 70. The plugin
# `unmapped` has the port that ends the process. The term display needs a TERM,
# any will do, and opens no port.
_BOCHSRC = """\
display_library: term
romimage: file=kernel.rom, address={address:#x}
vgaromimage: file=vga.rom
memory: guest={memory}, host={memory}
cpu: model={cpu}, count={processors}, ips={ips}, reset_on_triple_fault={resets}, ignore_bad_msrs=0
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


def _bochs(target, rom, processors, folder, resets=0):
    """@resets: how often a triple fault may reset the machine; 0: it ends the process."""
    options = target.options
    _write_rom(rom, folder)
    write_vga_rom(folder)
    text = _BOCHSRC.format(
        address=FOUR_GIB - len(rom),
        memory=options["memory"],
        cpu=target.cpu,
        processors=processors,
        ips=options["ips"],
        resets=int(resets > 0),
    )
    argv, environment = target.program()
    with open(os.path.join(folder, "bochsrc"), "w", encoding="ascii") as stream:
        stream.write(text + "".join(f"{line}\n" for line in options["extra"]))
    with open(os.path.join(folder, "continue"), "w", encoding="ascii") as stream:
        # The debugger that Debian builds in waits for this, at every triple fault again.
        stream.write("c\n" * (1 + resets))
    return Launch(
        argv=[*argv, "-q", "-f", "bochsrc", "-rc", "continue"],
        stream="file",
        path=os.path.join(folder, "serial.log"),
        environment={**environment, "TERM": "dumb"},
        logs=[os.path.join(folder, "bochs.log")],
        file_limit=4 * 1024 * target.limits["stream"] * max(1, resets),
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
        _write_rom(patched_rom(kernel, cmdline), folder)
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
    path = _write_rom(patched_rom(kernel, cmdline), folder)
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
