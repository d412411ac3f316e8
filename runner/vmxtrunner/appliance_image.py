"""What the nested host in a box starts from: one image of memory, and a ROM.

Nothing is loaded in the emulated machine: Bochs reads the image into its memory
before the first instruction. The image holds the kernel uncompressed, the
initramfs, boot_params and page tables; the ROM (appliance/loader.S) enters the
kernel by Linux's 64-bit boot protocol.
"""
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import stat
import struct
import subprocess

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

from . import packages
from .errors import Infrastructure

SOURCES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "appliance")
FORMAT = 2  # to be raised when this file makes something else of the same input
MEMORY = 512  # MiB of the inner host
IPS = 50_000_000  # instructions in a second of the emulated time

# Where the image's parts lie. It must begin at a block of Bochs's memory.
START = 0x100000
PARAMS, CMDLINE, TABLES = START, START + 0x1000, START + 0x2000
TABLES_SIZE = 6 * 0x1000
ALIGN = 0x100000

# What costs time in a slow machine and serves nobody in this one is off. The time
# stamp counter runs at IPS, whatever the CPU model says. A panic is a triple
# fault, which ends Bochs. Words with a `=` that the kernel does not know become
# the environment of its first process.
CMDLINE_TEXT = " ".join(
    f"""
    console=ttyS0 quiet panic=-1 oops=panic reboot=t
    nokaslr mitigations=off acpi=off pci=off audit=0 lsm= nowatchdog rodata=off
    tsc=reliable tsc_early_khz={IPS // 1000} lpj={IPS // 250}
    cryptomgr.notests cgroup_disable=memory init_on_alloc=0 norandmaps
    initcall_blacklist=trace_eval_init rcupdate.rcu_expedited=1
    random.trust_cpu=on randomize_kstack_offset=off
    rdinit=/qemu LD_PRELOAD=/agent.so
    """.split()
)

DIRECTORY, FILE, DEVICE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFCHR | 0o600
DEVICES = {"console": (5, 1), "null": (1, 3), "urandom": (1, 9), "kvm": (10, 232)}
MODULES = ("irqbypass.ko", "kvm.ko", "kvm-intel.ko")
QEMU = "usr/bin/qemu-system-x86_64"


class Image:
    """The files that a start needs, below the cache."""

    def __init__(self, folder):
        self.memory = os.path.join(folder, "memory.img")
        self.rom = os.path.join(folder, "boot.rom")


def ensure(version):
    """The Image for the kernel @version, made if the cache holds none that is right."""
    catalogue = packages.Catalogue()
    with packages.locked() as cache:
        kernel, qemu = catalogue.kernel(version), catalogue.program("qemu")
        inputs = [FORMAT, MEMORY, CMDLINE_TEXT, kernel.ensure(), qemu.ensure()]
        for name in ("agent.c", "loader.S"):
            inputs.append(packages.digest(os.path.join(SOURCES, name)))
        inputs.append(packages.digest(os.path.abspath(__file__)))
        key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
        folder = os.path.join(cache, f"inner-{version}")
        image = Image(folder)
        if not _good(folder, key):
            packages.tell(f"making the inner host with Linux {version} in {folder}")
            _make(folder, kernel, qemu)
            sums = {name: packages.digest(os.path.join(folder, name)) for name in os.listdir(folder)}
            packages.save(os.path.join(folder, "made.json"), {"key": key, "sums": sums})
        return image


def _good(folder, key):
    try:
        with open(os.path.join(folder, "made.json"), encoding="ascii") as stream:
            made = json.load(stream)
        if made["key"] != key:
            return False
        for name, checksum in made["sums"].items():
            if packages.digest(os.path.join(folder, name)) != checksum:
                packages.tell(f"the cached {name} is damaged: it is made again")
                return False
        return True
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _make(folder, kernel, qemu):
    shutil.rmtree(folder, ignore_errors=True)
    scratch = f"{folder}.new"
    shutil.rmtree(scratch, ignore_errors=True)
    os.makedirs(scratch)
    try:
        agent = os.path.join(scratch, "agent.so")
        flags = ["-std=gnu17", "-O2", "-shared", "-fPIC", "-s"]
        _tool("gcc", *flags, "-o", agent, os.path.join(SOURCES, "agent.c"))
        files = {"agent.so": _read(agent)}
        os.unlink(agent)
        for name in MODULES:
            files[name] = _module(kernel, name, scratch)
        files.update(_program(qemu, QEMU))
        with open(kernel.find("boot/vmlinuz-*"), "rb") as stream:
            symbols = _write_memory(os.path.join(scratch, "memory.img"), _vmlinux(stream.read()), files)
        _make_rom(os.path.join(scratch, "boot.rom"), symbols, scratch)
        os.rename(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _read(path):
    with open(path, "rb") as stream:
        return stream.read()


def _tool(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Infrastructure(f"{command[0]} is missing") from error
    if done.returncode:
        if "No space left" in done.stderr:
            raise Infrastructure(f"the disk of the cache is full ({packages.cache_folder()})")
        raise Infrastructure(f"{command[0]} failed: {done.stderr.strip()[-400:]}")


# -- the initramfs


def _module(kernel, name, scratch):
    """The module without its signature and tracing tables: checking these costs seconds."""
    path = kernel.find(f"*/{name}*")
    data = _read(path)
    if path.endswith(".xz"):
        data = lzma.decompress(data)
    elif not path.endswith(".ko"):
        raise Infrastructure(f"{path}: a compression that is not known here")
    plain, stripped = os.path.join(scratch, "module"), os.path.join(scratch, "stripped")
    with open(plain, "wb") as stream:
        stream.write(data)
    drop = [f"--remove-section={n}" for n in ("__mcount_loc", ".rela__mcount_loc", ".BTF", ".BTF_ids")]
    _tool("objcopy", "--strip-unneeded", *drop, plain, stripped)
    data = _read(stripped)
    os.unlink(plain)
    os.unlink(stripped)
    return data


def _program(source, program):
    """The @program as /qemu, its interpreter and every library that it needs, by path."""
    path = os.path.join(source.root, program)
    folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib", "lib"]
    files = {"qemu": _read(path)}
    waiting = [path]
    while waiting:
        needed, interpreter = _needs(waiting.pop())
        names = [f"{folder}/{name}" for name in needed for folder in folders]
        done = {os.path.basename(name) for name in files}
        for name in [interpreter.lstrip("/")] * bool(interpreter) + names:
            library = _inside(source.root, name)
            if os.path.basename(name) in done or not os.path.exists(library):
                continue
            done.add(os.path.basename(name))
            files[name] = _read(library)
            waiting.append(library)
        missing = set(needed) - done
        if missing:
            raise Infrastructure(f"the packages of {source.name} hold no {', '.join(sorted(missing))}")
    return files


def _inside(root, name):
    """The file that @name is below @root, where absolute links begin too."""
    path = os.path.join(root, name)
    for _link in range(8):
        if not os.path.islink(path):
            break
        target = os.readlink(path)
        above = root if target.startswith("/") else os.path.dirname(path)
        path = os.path.join(above, target.lstrip("/"))
    return path


def _needs(path):
    """(sonames, interpreter or "") of the ELF file @path."""
    with open(path, "rb") as stream:
        elf = ELFFile(stream)
        names, interpreter = [], ""
        for segment in elf.iter_segments():
            if segment["p_type"] == "PT_INTERP":
                interpreter = segment.get_interp_name()
        for section in elf.iter_sections():
            if isinstance(section, DynamicSection):
                names = [tag.needed for tag in section.iter_tags("DT_NEEDED")]
        return names, interpreter


def _cpio(files):
    """An initramfs: @files by path, the folders above them, the devices."""
    out = bytearray()
    count = 0

    def add(name, mode, data=b"", device=(0, 0)):
        nonlocal count
        count += 1
        text = name.encode() + b"\0"
        fields = (count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(text), 0)
        out.extend(b"070701" + b"".join(b"%08x" % field for field in fields) + text)
        out.extend(bytes(-len(out) % 4) + data)
        out.extend(bytes(-len(out) % 4))

    folders = {"dev", "proc", "sys", "tmp"}
    for name in files:
        while name := os.path.dirname(name):
            folders.add(name)
    for name in sorted(folders):
        add(name, DIRECTORY)
    for name, numbers in DEVICES.items():
        add(f"dev/{name}", DEVICE, b"", numbers)
    for name, data in files.items():
        add(name, FILE, data)
    add("TRAILER!!!", 0)
    return bytes(out)


# -- the kernel


def _vmlinux(bzimage):
    """The ELF file inside a bzImage (Linux's Documentation/arch/x86/boot.rst)."""
    if bzimage[0x202:0x206] != b"HdrS":
        raise Infrastructure("the kernel's package holds no bzImage")
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = ((bzimage[0x1F1] or 4) + 1) * 512 + offset
    payload = bzimage[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=io.BytesIO(payload[:-4])).read()
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(payload)
    raise Infrastructure(f"the kernel's compression is not known here ({payload[:4].hex()})")


def _zstd(payload):
    """By the library that dpkg itself needs; the frame is followed by the size of its content."""
    import ctypes

    (size,) = struct.unpack("<I", payload[-4:])
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError as error:
        raise Infrastructure("libzstd.so.1 is missing (Debian: libzstd1)") from error
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t] * 2
    out = ctypes.create_string_buffer(size)
    if library.ZSTD_decompress(out, size, payload[:-4], len(payload) - 4) != size:
        raise Infrastructure("the kernel's image is damaged (zstd)")
    return out.raw


def _write_memory(path, vmlinux, files):
    """Writes the image of memory; the symbols that the loader is linked with."""
    elf = ELFFile(io.BytesIO(vmlinux))
    segments = [s for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
    end = max(s["p_paddr"] + s["p_memsz"] for s in segments)
    initramfs = _cpio(files)
    place = (end + ALIGN - 1) & ~(ALIGN - 1)
    with open(path, "wb") as stream:
        total = (place + len(initramfs) + ALIGN - 1) & ~(ALIGN - 1)
        stream.truncate(total - START)
        parts = [(PARAMS, _boot_params(place, len(initramfs)))]
        parts += [(CMDLINE, CMDLINE_TEXT.encode() + b"\0"), (TABLES, _page_tables())]
        parts += [(s["p_paddr"], s.data()) for s in segments] + [(place, initramfs)]
        for address, data in parts:
            stream.seek(address - START)
            stream.write(data)
    return {
        "IMAGE_START": START,
        "IMAGE_END": total,
        "PAGE_TABLES": TABLES,
        "BOOT_PARAMS": PARAMS,
        "ENTRY": elf["e_entry"],
    }


def _boot_params(initramfs, size):
    """struct boot_params: the fields of the setup header that a loader fills, and memory."""
    params = bytearray(4096)
    struct.pack_into("<H4sH", params, 0x1FE, 0xAA55, b"\0\0\0\0", 0)
    params[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", params, 0x206, 0x20F)  # version of the protocol
    params[0x210:0x212] = b"\xff\x01"  # a loader without a number; loaded high
    struct.pack_into("<II", params, 0x218, initramfs, size)
    struct.pack_into("<I", params, 0x228, CMDLINE)
    regions = [(0, 0x9F000), (START, MEMORY * 0x100000 - START)]
    params[0x1E8] = len(regions)
    for number, (address, length) in enumerate(regions):
        struct.pack_into("<QQI", params, 0x2D0 + 20 * number, address, length, 1)
    return params


def _page_tables():
    """An identity map of the first 4 GiB with pages of 2 MiB."""
    present, large = 0x3, 0x80
    tables = bytearray(TABLES_SIZE)
    struct.pack_into("<Q", tables, 0, TABLES + 0x1000 + present)
    for gib in range(4):
        directory = 0x2000 + gib * 0x1000
        struct.pack_into("<Q", tables, 0x1000 + gib * 8, TABLES + directory + present)
        for entry in range(512):
            page = (gib << 30) + (entry << 21)
            struct.pack_into("<Q", tables, directory + entry * 8, page + large + present)
    return tables


def _make_rom(path, symbols, scratch):
    code, linked = os.path.join(scratch, "loader.o"), os.path.join(scratch, "loader.elf")
    _tool("gcc", "-m32", "-c", "-o", code, os.path.join(SOURCES, "loader.S"))
    places = ["-Ttext=0xffff0000", "--section-start=.reset=0xfffffff0", "-e", "0xffff0000"]
    values = [f"--defsym={name}={value:#x}" for name, value in symbols.items()]
    _tool("ld", "-m", "elf_i386", "-N", "--no-warn-rwx-segments", *places, *values, "-o", linked, code)
    _tool("objcopy", "-O", "binary", "-j", ".text", "-j", ".reset", linked, path)
    os.unlink(code)
    os.unlink(linked)
    if os.path.getsize(path) != 0x10000:
        raise Infrastructure("the loader's ROM came out with a wrong size")
