"""Several kernels one after the other in one process: a stack of ROMs (lib/PROTOCOL.md).

Chain is the process, Link is one kernel of it and looks to the engine like any other
boot. The target's own log tells where one ends and the next begins: there each reset
leaves a line with the byte that counts the ends, and no kernel can write that line
without a reset. So a kernel that says another one's hello is found out: there are
more hellos than starts.
"""
import re

from . import wire
from .boot import Boot

_RESET = re.compile(rb"shutdown status is ([0-9a-f]{2})h, resetting[^\n]*\n")
# A hello from which its kernel goes on, as far as it is there.
_BEGINNING = re.compile(rb"@0 H [\x20-\x7e]*\r?\n(?=@1 |@?1?\Z)")
_HELLO = re.compile(rb"@0 H [\x20-\x7e]*")


class Chain:
    def __init__(self, launch, size):
        self.boot = Boot(launch)
        self.links = [Link(self, number) for number in range(size)]
        self.rest = b""  # was read, and no link has it yet
        self.parts = [0]  # where in the log the part of each kernel begins
        self._hellos = 0  # in all that was read
        self._partial = b""  # the last line that was read as far as it is there
        self._log = None
        self._line = b""  # the log's last line as far as it is there
        self._looked = 0  # so far was the log looked at, without that line
        self.stopped = False

    def ended(self, number):
        """Whether the kernel with this number ended well and was followed by a reset."""
        if len(self.parts) <= number + 1 and not self.stopped:
            self._look()
        return len(self.parts) > number + 1

    def _look(self):
        if self._log is None:
            try:
                self._log = open(self.boot.launch.logs[0], "rb")
            except FileNotFoundError:
                return
        text = self._line + self._log.read()
        for found in _RESET.finditer(text):
            if int(found[1], 16) == 2 * len(self.parts):
                self.parts.append(self._looked + found.end())
        done = text.rfind(b"\n") + 1
        self._line = text[done:]
        self._looked += done

    def read(self):
        if not self.stopped:
            self._take(self.boot.read())

    def _take(self, data):
        self.rest += data
        self.boot.data.clear()
        lines = self._partial + data
        done = lines.rfind(b"\n") + 1
        hellos = _HELLO.findall(lines, 0, done)
        self._hellos += sum(wire.parse_line(hello) is not None for hello in hellos)
        self._partial = lines[done:][-wire.MAX_LINE :]

    def forged(self):
        """Whether more kernels said hello than began."""
        if not self.stopped:
            self._look()  # later than the stream: a start is there before its hello
        return self._hellos > len(self.parts)

    def stop(self):
        if not self.stopped:
            self._take(self.boot.stop())
            self._look()
            self.stopped = True
            if self._log:
                self._log.close()

    def log(self, number, limit):
        """What the target wrote while this kernel ran; the process's end is the last one's."""
        since, until = (self.parts + [None])[number : number + 2]
        return self.boot.target_log(limit, since, until)


class Link:
    def __init__(self, chain, number):
        self.chain, self.number = chain, number
        self.launch = chain.boot.launch
        self.data = bytearray()
        self._over = False  # no byte more belongs to this kernel

    @property
    def pidfd(self):
        return self.chain.boot.pidfd

    def exited(self):
        return self.chain.ended(self.number) or self.chain.boot.exited()

    def hands_on(self):
        """Whether the process goes on with the next kernel."""
        return self.chain.ended(self.number) and not self.chain.stopped

    def forged(self):
        return self.chain.forged()

    def read(self):
        """This kernel's bytes that came since the last call."""
        if self._over:
            return b""
        chain = self.chain
        chain.read()
        size = len(chain.rest)
        if chain.ended(self.number):
            # Before the reset all its bytes were in the file: now the last ones are here.
            chain.read()
            size = self._last()
            self._over = True
        data, chain.rest = chain.rest[:size], chain.rest[size:]
        self.data += data
        return data

    def _last(self):
        """How much of what was read belongs to this kernel: up to the next hello after its own."""
        had = len(self.data)
        text = self.data + self.chain.rest
        for found in _BEGINNING.finditer(text):
            if found.start() >= max(had, 1):  # its own is at 0
                return found.start() - had
        return max(text.rfind(b"\n") + 1 - had, 0)

    def stop(self):
        rest = self.read()
        if not self.hands_on():
            self.chain.stop()
            rest += self.read()
        return rest

    def how_it_ended(self):
        return "a reset" if self.chain.ended(self.number) else self.chain.boot.how_it_ended()

    def target_log(self, limit=1 << 18):
        return self.chain.log(self.number, limit)
