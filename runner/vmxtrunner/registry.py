"""The cases that an image holds, read from its ELF file (lib/registry.h)."""
import json
import os
import re
import struct
from collections import namedtuple

from .errors import Infrastructure, UsageError

CACHE_VERSION = 1
ID = re.compile(r"[a-z0-9._/-]+")


class RegistryError(Infrastructure):
    pass


# One case: what the image says of it, and where it is.
Case = namedtuple("Case", "id title sdm rules needs file line index kernel")


class Kernel:
    """One image: its two files, its build id and its cases in registry order."""

    def __init__(self, name, elf, build, arch, cases):
        self.name = name  # folder/name
        self.elf = elf
        self.rom = elf[:-4] + ".rom"
        self.build = build
        self.arch = arch
        self.cases = [Case(*fields, index, name) for index, fields in enumerate(cases)]

    @property
    def folder(self):
        return self.name.rpartition("/")[0]

    @property
    def stem(self):
        return self.name.rpartition("/")[2]


class _Image:
    """An ELF file's memory, and the few structures in it."""

    def __init__(self, path, ELFFile):
        with open(path, "rb") as stream:
            elf = ELFFile(stream)
            self.sections = []
            self.named = {}
            self.build = ""
            for section in elf.iter_sections():
                if section["sh_type"] == "SHT_PROGBITS":
                    entry = (section["sh_addr"], section.data())
                    self.named[section.name] = entry
                    if section["sh_flags"] & 2:
                        self.sections.append(entry)
                elif section["sh_type"] == "SHT_NOTE":
                    for note in section.iter_notes():
                        if note["n_type"] == "NT_GNU_BUILD_ID":
                            self.build = note["n_desc"]

    def bytes_at(self, address, size):
        for start, data in self.sections:
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        raise ValueError(f"no data at address {address:#x}")

    def string_at(self, address):
        if not address:
            return ""
        for start, data in self.sections:
            if start <= address < start + len(data):
                end = data.index(b"\0", address - start)
                return data[address - start : end].decode("utf-8")
        raise ValueError(f"no string at address {address:#x}")


def _expand(image, pointer, fields, strings):
    """The cases of one entry, rows or family unfolded."""
    ident, title, sdm, rules, needs, _run, rows, file, row_size, count, line, _ = fields
    base = (strings(ident), strings(title), strings(sdm))
    rules, needs, file = strings(rules).split(), strings(needs).split(), strings(file)
    if not count:
        yield [*base, rules, needs, file, line]
        return
    for number in range(count):
        if not rows:
            yield [f"{base[0]}.{number:02}", base[1], base[2], rules, needs, file, line]
            continue
        raw = image.bytes_at(rows + number * row_size, 4 * struct.calcsize(pointer))
        name, text, more, need = map(strings, struct.unpack("<4" + pointer, raw))
        yield [
            f"{base[0]}.{name}",
            f"{base[1]}: {text}" if text else base[1],
            base[2],
            list(dict.fromkeys(rules + more.split())),
            list(dict.fromkeys(needs + need.split())),
            file,
            line,
        ]


def read_image(path):
    """(build id, architecture, cases) of the image at @path."""
    from elftools.elf.elffile import ELFFile  # slow to import, and often not needed

    try:
        image = _Image(path, ELFFile)
        info = image.named[".vmxt.info"][1]
        magic, pointer_size, case_size = struct.unpack_from("<8sII", info)
        if magic != b"VMXTREG1":
            raise ValueError("the registry's magic is wrong")
        pointer = {4: "I", 8: "Q"}[pointer_size]
        layout = struct.Struct(f"<8{pointer}4I")
        if case_size != layout.size:
            raise ValueError(f"a case has {case_size} bytes, not {layout.size}")
        data = image.named.get(".vmxt.cases", (0, b""))[1]
        cases = []
        for fields in layout.iter_unpack(data):
            cases.extend(_expand(image, pointer, fields, image.string_at))
        if not image.build:
            raise ValueError("no build id")
        arch = "x86_64" if pointer_size == 8 else "i386"
        return image.build, arch, cases
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from error
    except Exception as error:  # a damaged image may upset the ELF library in any way
        raise RegistryError(f"{path}: no valid case registry ({error})") from error


def _load_cache(path):
    try:
        with open(path, encoding="utf-8") as stream:
            cache = json.load(stream)
        return cache["images"] if cache["version"] == CACHE_VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _save_cache(path, images):
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as stream:
            json.dump({"version": CACHE_VERSION, "images": images}, stream)
        os.replace(temporary, path)
    except OSError:  # a cache that cannot be written only costs time
        try:
            os.unlink(temporary)
        except OSError:
            pass


def load(folders, cache=None):
    """The kernels of all images *.elf in @folders, sorted by name."""
    old = _load_cache(cache) if cache else {}
    new, kernels = {}, []
    for folder in sorted(folders):
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".elf"):
                continue
            path = os.path.abspath(os.path.join(folder, name))
            status = os.stat(path)
            stamp = [status.st_mtime_ns, status.st_size]
            known = old.get(path)
            if not known or known[0] != stamp:
                known = [stamp, *read_image(path)]
            new[path] = known
            label = f"{os.path.basename(folder)}/{name[:-4]}"
            kernels.append(Kernel(label, path, *known[1:]))
    if cache and new != old:
        _save_cache(cache, new)
    return kernels


def find_folders(build):
    """The folders of kernels under the build folder @build."""
    if not os.path.isdir(build):
        raise Infrastructure(f"{build}: nothing is built there (run make first)")
    found = [e.path for e in os.scandir(build) if e.is_dir() and e.name.endswith("_tests")]
    if not found:
        raise Infrastructure(f"{build}: no kernels there (run make first)")
    return found


def by_id(kernels):
    """All cases by id; an id that occurs twice is an error of the suite."""
    cases = {}
    for kernel in kernels:
        for case in kernel.cases:
            if case.id in cases:
                raise UsageError(
                    f"{case.file}:{case.line}: the id {case.id} is also in {cases[case.id].file}"
                )
            cases[case.id] = case
    return cases
