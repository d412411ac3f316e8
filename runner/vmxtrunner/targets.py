"""What a target file says (configs/targets/NAME.toml), and whether this machine has it."""
import functools
import os
import re
import shutil
import subprocess

from .config import Document
from .errors import UsageError

TOP = {
    "title": (str, ...),
    "kind": (("bochs", "qemu", "command", "appliance"), ...),
    "expectations": ([str], None),
    "needs_kvm_vmx": (bool, False),
    "bochs": (dict, None),
    "qemu": (dict, None),
    "command": (dict, None),
    "appliance": (dict, None),
    "limits": (dict, None),
}

KINDS = {
    "bochs": {
        "binary": (str, "bochs"),
        "version": (str, ""),  # of the Bochs that is meant
        "package": (str, ""),  # of configs/packages.toml, where the binary is another version
        "cpu": (str, ...),
        "models": ([str], ()),
        "ips": (int, 1000000),
        "memory": (int, 64),
        "chain": (int, 1),  # kernels that one process may run, one after the other
        "extra": ([str], ()),
    },
    "qemu": {
        "binary": (str, "qemu-system-x86_64"),
        "accel": (("tcg", "kvm"), ...),
        "machine": (str, "pc"),
        "cpu": (str, "max"),
        "models": ([str], ()),
        "memory": (int, 64),
        "boot": (("bios", "kernel"), "bios"),
        "output": (("uart", "e9"), "uart"),
        "extra": ([str], ()),
    },
    "command": {
        "command": ([str], ...),
        "output": (("file", "pipe", "stdout"), "file"),
        "cpu": (str, ""),
        "models": ([str], ()),
        "memory": (int, 64),
    },
    # Bochs with a Linux in it, and QEMU/KVM in that.
    "appliance": {
        "binary": (str, "bochs"),
        "version": (str, ""),
        "package": (str, ""),
        "cpu": (str, ...),  # of Bochs
        "models": ([str], ()),
        "linux": (str, ...),  # a kernel of configs/packages.toml
        "machine": (str, "microvm"),  # of QEMU, and what follows
        "inner_cpu": (str, "host"),
        "memory": (int, 64),
        "extra": ([str], ()),  # lines for Bochs
    },
}

LIMITS = {
    "case": (float, 10.0),  # seconds a case may take
    "start": (float, 20.0),  # seconds from the start to the first case, or between two
    "boot": (float, 600.0),  # seconds a whole boot may take
    "grace": (float, 2.0),  # seconds from the last line to the process's end
    "stream": (int, 4096),  # KiB of output a boot may make
    "processors": (int, 4),  # the most that the target can have
}

MAX_CHAIN = 16  # so many ROMs of 128 KiB are the 2 MiB that Bochs takes

# The environment variable that names another binary of the same target.
BINARY_VARIABLES = {"bochs": "BOCHS", "qemu": "QEMU", "appliance": "BOCHS"}


@functools.cache
def bochs_version(binary):
    """The version that this Bochs says it is, as "2.7"; "" where it says nothing."""
    try:
        done = subprocess.run(
            [binary, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(rb"Bochs x86 Emulator (\d+\.\d+)", done.stdout)
    return found[1].decode() if found else ""


class Target:
    """One target: its name, the checked content of its file, the chosen variant."""

    def __init__(self, path, cpu=None, linux=None):
        document = Document(path)
        top = document.check(document.data, TOP)
        self.name = os.path.basename(path).removesuffix(".toml")
        self.path = path
        self.title = top["title"]
        self.kind = top["kind"]
        self.needs_kvm_vmx = top["needs_kvm_vmx"]
        self.expectations = top["expectations"]
        for kind in KINDS:
            if kind != self.kind and top[kind] is not None:
                raise document.error(f"a target of kind {self.kind!r} has no [{kind}]", kind)
        if top[self.kind] is None:
            raise document.error(f"the table [{self.kind}] is missing")
        self.options = document.check(top[self.kind], KINDS[self.kind], self.kind)
        self.limits = document.check(top["limits"] or {}, LIMITS, "limits")
        for key, value in self.limits.items():
            if value <= 0:
                raise document.error(f"{key!r} must be above 0", "limits", key)
        if self.kind == "command" and not self.options["command"]:
            raise document.error("'command' must not be empty", "command", "command")
        if not 1 <= self.options.get("chain", 1) <= MAX_CHAIN:
            raise document.error(f"'chain' must be 1 to {MAX_CHAIN}", "bochs", "chain")
        self.default_cpu = self.options["cpu"]
        self.cpu = cpu or self.default_cpu
        self.default_linux = self.options.get("linux", "")
        self.linux = linux or self.default_linux
        if linux and not self.default_linux:
            raise UsageError(f"the target {self.name} has no Linux of its own to choose")
        if cpu and self.kind == "command" and not self._takes_cpu():
            raise UsageError(f"the target {self.name} has no CPU models to choose")

    def _takes_cpu(self):
        return any("{cpu}" in word for word in self.options["command"])

    @property
    def variant(self):
        """The target's name, with what was chosen otherwise than usual."""
        chosen = [self.linux] * (self.linux != self.default_linux)
        chosen += [self.cpu] * (self.cpu != self.default_cpu)
        return "-".join([self.name, *chosen])

    @property
    def binary(self):
        if self.kind == "command":
            return self.options["command"][0]
        return os.environ.get(BINARY_VARIABLES[self.kind]) or self.options["binary"]

    @property
    def version(self):
        """The version of the target's program; "" where none is known."""
        wanted = self.options.get("version", "")
        if self._package or self.kind not in ("bochs", "appliance"):
            return wanted
        return bochs_version(self.binary) or wanted

    @functools.cached_property
    def _package(self):
        package = self.options.get("package", "")
        if not package or os.environ.get(BINARY_VARIABLES[self.kind]):
            return ""
        return "" if bochs_version(self.binary) == self.options["version"] else package

    def program(self):
        """(argv, environment) of the program that the target is started by."""
        if self._package:
            from . import appliance

            return appliance.packaged_bochs(self._package)
        return [self.binary], {}

    def unavailable(self):
        """Why this machine cannot start the target; None where it can."""
        binary = self.binary
        tools = ["gcc", "ld", "objcopy"] if self.kind == "appliance" else []
        tools += ["apt-get", "dpkg-deb"] if tools or self._package else []
        for tool in tools:
            if not shutil.which(tool):
                return f"{tool} is not installed"
        if self._package:
            return None
        if "{" not in binary and not shutil.which(binary):
            return f"{binary} is not installed"
        if self.kind == "qemu" and self.options["accel"] == "kvm":
            from . import kvm

            reason = kvm.unusable()
            if not reason and self.needs_kvm_vmx:
                reason = kvm.without_vmx()
            return reason
        return None


def folder(configs):
    return os.path.join(configs, "targets")


def names(configs):
    try:
        found = os.listdir(folder(configs))
    except OSError as error:
        raise UsageError(f"{folder(configs)}: {error.strerror}") from error
    return sorted(n.removesuffix(".toml") for n in found if n.endswith(".toml"))


def find(configs, name, cpu=None, linux=None):
    """The target called @name; a name that ends in .toml is a file of its own."""
    if name.endswith(".toml"):
        return Target(name, cpu, linux)
    path = os.path.join(folder(configs), f"{name}.toml")
    if not os.path.exists(path):
        raise UsageError(f"no target {name!r} (there are: {', '.join(names(configs))})")
    return Target(path, cpu, linux)


def default(configs, cpu=None):
    """The best target here: nested KVM where KVM really offers VMX, else Bochs."""
    if "kvm" in names(configs):
        target = find(configs, "kvm", cpu)
        if target.unavailable() is None:
            return target
    return find(configs, "bochs", cpu)
