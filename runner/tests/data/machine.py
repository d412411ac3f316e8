"""A target that needs no machine: it speaks the protocol as the tests tell it to.

machine.py ROM ELF SERIAL SCRIPT: SCRIPT is JSON, {case index or "*": behaviour}.
"""
import binascii
import json
import os
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", ".."))

from vmxtrunner import ranges, registry  # noqa: E402


class Wire:
    def __init__(self, path):
        self.number = 0
        self.stream = sys.stdout.buffer if path == "-" else open(path, "wb")

    def raw(self, data):
        self.stream.write(data)
        self.stream.flush()

    def line(self, body, number=None):
        if number is None:
            number, self.number = self.number, self.number + 1
        text = f"@{number:x} {body}".encode("latin-1")
        self.raw(text + b" %04x\n" % binascii.crc_hqx(text, 0xFFFF))


def parameters(rom):
    with open(rom, "rb") as stream:
        slot = stream.read(4096)
    assert slot.startswith(b"VMXT-CMDLINE-01\0")
    words = slot[16 : slot.index(b"\0", 16)].decode().split()
    return dict(word.split("=", 1) for word in words)


def main():
    rom, elf, serial, script = sys.argv[1:5]
    with open(script, encoding="utf-8") as stream:
        script = json.load(stream)
    script = script.get(os.path.basename(elf).removesuffix(".elf"), script)
    build, arch, cases = registry.read_image(elf)
    wire = Wire(serial)
    boot = script.get("boot")
    if boot == "silent":
        sys.exit(3)
    if boot == "mute":
        time.sleep(60)
    if boot == "noise":
        wire.raw(b"SeaBIOS\x1b[2J\r\n@0 H 1 0000\n\xff\xfe no end of line ")
    if boot == "other":
        build = "0" * len(build)
    wire.line(f"H 1 {build} {arch} rom {len(cases):x}")
    wire.line("F brand=Fake CPU")
    wire.line("F basic=da0400000000004")
    chosen = sorted(ranges.parse(parameters(rom)["cases"], len(cases)))
    wire.line(f"P {len(chosen):x} {ranges.text_of(chosen)}")
    counts = dict.fromkeys("pfse", 0)
    for index in chosen:
        what = script.get(str(index), script.get("*", "p"))
        if what == "before":
            sys.exit(0)
        if what == "idle":
            time.sleep(60)
        if what == "stop":
            break
        wire.line(f"S {index:x}")
        act(wire, what, index)
        verdict = what[0] if what in ("p", "s", "e", "f") else "p"
        if verdict == "f":
            for key, text in (("at", "fake.c:7"), ("what", "CR0.NE"), ("want", "0x20"), ("got", "0x0 (bit 5: NE)")):
                wire.line(f"D {key} {text}")
        if verdict == "e":
            wire.line("D note no memory")
        counts[verdict] += 1
        wire.line(f"R {index:x} {verdict}" + (" no EPT (\\x1b[31m)" if verdict == "s" else ""))
        if what == "after":
            os.kill(os.getpid(), signal.SIGSEGV)
    if boot == "miscount":
        counts["p"] += 1
    wire.line("E " + " ".join(f"{n:x}" for n in counts.values()))
    if boot == "stay":
        time.sleep(60)
    if boot == "more":
        wire.line("S 0")


def act(wire, what, index):
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "hang":
        time.sleep(60)
    elif what == "slow":
        time.sleep(0.3)
    elif what == "x":
        wire.line("X page fault at 0x1234")
        sys.exit(0)
    elif what == "flood":
        while True:
            wire.raw(b"@noise\n" * 10000)
    elif what == "chatter":
        while True:
            wire.line("D note still here")
    elif what == "forge":
        wire.line(f"R {index:x} p", wire.number)
    elif what == "forge-far":
        number = wire.number
        for body in (f"R {index:x} p", f"S {index + 1:x}", f"R {index + 1:x} p", f"S {index + 2:x}"):
            wire.line(body, number)
            number += 1
    elif what == "skip-line":
        wire.number += 1
    elif what == "child":
        if not os.fork():
            time.sleep(60)


main()
