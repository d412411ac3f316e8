"""The images that the build makes: their form, and that each way to boot works."""
import glob
import os
import struct
import subprocess

import pytest
from elftools.elf.elffile import ELFFile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD", "build"))
ARCHES = ("x86_64", "i386")
SLOT = b"VMXT-CMDLINE-01\0"


def images(arch, ending):
    found = glob.glob(os.path.join(BUILD, arch, "*_tests", "*." + ending))
    if not found:
        pytest.skip(f"nothing is built for {arch}")
    return sorted(found)


@pytest.mark.parametrize("arch", ARCHES)
def test_rom(arch):
    for path in images(arch, "rom"):
        with open(path, "rb") as file:
            rom = file.read()
        assert len(rom) in (0x10000, 0x20000), path
        assert rom[:16] == SLOT and not any(rom[16:4096]), path
        # A short or near jump stands at the reset vector, nothing behind it.
        assert rom[-16] in (0xE9, 0xEB) and not any(rom[-13:]), path


@pytest.mark.parametrize("arch", ARCHES)
def test_elf(arch):
    for path in images(arch, "elf"):
        with open(path, "rb") as file:
            elf = ELFFile(file)
            file.seek(0)
            head = file.read(8192)
            assert elf.elfclass == 32 and elf["e_machine"] == "EM_386", path
            first = min(segment["p_paddr"] for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD")
            assert first == 0x100000, path
            at = head.find(struct.pack("<I", 0x1BADB002))
            assert at >= 0 and at % 4 == 0, path
            assert sum(struct.unpack_from("<3I", head, at)) % 2**32 == 0, path
            names = {section.name for section in elf.iter_sections()}
            assert {".vmxt.info", ".note.gnu.build-id"} <= names, path
            # MOV to CR8 and the like: a kernel may have nothing to ask of a 32-bit processor.
            assert ".vmxt.cases" in names or arch == "i386", path
            pvh = elf.get_section_by_name(".note.Xen").data()
            assert struct.unpack("<3I4sI", pvh)[:4] == (4, 4, 18, b"Xen\0"), path


def without_multiboot(elf, folder):
    """A copy of the image that QEMU can only start by its PVH note."""
    with open(elf, "rb") as file:
        data = bytearray(file.read())
    at = data.find(struct.pack("<I", 0x1BADB002))
    data[at] ^= 1
    path = os.path.join(folder, "pvh.elf")
    with open(path, "wb") as file:
        file.write(data)
    return path


def with_cmdline(rom, text, folder):
    with open(rom, "rb") as file:
        data = bytearray(file.read())
    data[16 : 16 + len(text)] = text.encode()
    path = os.path.join(folder, "kernel.rom")
    with open(path, "wb") as file:
        file.write(data)
    return path


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("machine", ("pc", "microvm"))
@pytest.mark.parametrize("way", ("rom", "multiboot", "pvh"))
@pytest.mark.parametrize("output", ("uart", "e9"))
def test_boot(arch, machine, way, output, tmp_path):
    """Two processors, some cases: the command line arrives by every way."""
    kernel = os.path.join(BUILD, arch, "vmx_tests", "preflight")
    if not os.path.exists(kernel + ".rom"):
        pytest.skip(f"nothing is built for {arch}")
    words, wire = "cases=0-2,4 cpus=2", tmp_path / "wire"
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "64", "-M", machine]
    command += ["-nodefaults", "-display", "none", "-no-reboot"]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    if output == "uart":
        command += ["-serial", f"file:{wire}"]
    else:
        command += ["-chardev", f"file,id=wire,path={wire}", "-device", "isa-debugcon,iobase=0xe9,chardev=wire"]
    if way == "rom":
        command += ["-bios", with_cmdline(kernel + ".rom", words, tmp_path)]
    else:
        image = kernel + ".elf" if way == "multiboot" else without_multiboot(kernel + ".elf", tmp_path)
        command += ["-kernel", image, "-append", words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 1  # isa-debug-exit: 0 << 1 | 1
    lines = wire.read_text("ascii").splitlines()
    assert lines[0].split()[1:3] == ["H", "1"]
    assert lines[0].split()[4:6] == [arch, way]
    assert [line.split()[1:-1] for line in lines if " P " in line] == [["P", "4", "0-2,4"]]
    assert lines[-1].split()[1:-1] == ["E", "4", "0", "0", "0"]
