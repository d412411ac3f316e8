"""The protocol's reader (lib/PROTOCOL.md): bytes in, events out.

It believes nothing: any bytes in any pieces give events or are noise; it never
raises, and a result comes only from a line that fits its place.
"""
import re
from binascii import crc_hqx
from collections import namedtuple

from . import ranges

MAX_LINE = 255  # without the line feed
MAX_DETAILS = 256  # kept of one case

_LINE = re.compile(rb"@(0|[1-9a-f][0-9a-f]{0,7}) ([\x20-\x7e]+) ([0-9a-f]{4})")
_HELLO = re.compile(r"H (\d{1,4}) ([0-9a-f]+) (\S+) (\S+) ([0-9a-f]{1,6})")
_FINGERPRINT = re.compile(r"F ([^ =]+)=(.*)")
_PLAN = re.compile(r"P ([0-9a-f]{1,6}) ([0-9,-]+)")
_START = re.compile(r"S ([0-9a-f]{1,6})")
_RESULT = re.compile(r"R ([0-9a-f]{1,6}) (?:([pfe])|(s)(?: (.*))?)")
_DETAIL = re.compile(r"D (at|what|want|got|exit|vmcs|note) ?(.*)")
_END = re.compile(r"E ([0-9a-f]{1,6}) ([0-9a-f]{1,6}) ([0-9a-f]{1,6}) ([0-9a-f]{1,6})")
_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")

OUTCOMES = {"p": "pass", "f": "fail", "s": "skip", "e": "error"}

Hello = namedtuple("Hello", "boot")
Fingerprint = namedtuple("Fingerprint", "key value")
Start = namedtuple("Start", "case")
Result = namedtuple("Result", "case outcome reason details")
# The kernel gave up or broke the protocol. @blamed: the case that it costs, or
# None; @details: what that case had said; @void: cases whose results no longer count.
# @kind: "protocol", "gave-up" or "restart" (the machine began anew by itself).
Broken = namedtuple("Broken", "kind text blamed details void")
End = namedtuple("End", "complete")


def unescape(text):
    """Free text with its escapes of printable characters undone, the others kept."""

    def character(match):
        code = int(match[1], 16)
        return chr(code) if 0x20 <= code <= 0x7E else match[0]

    return _ESCAPE.sub(character, text)


def parse_line(piece):
    """(number, body) of the line that ends @piece (no line feed in it), or None."""
    if piece.endswith(b"\r"):
        piece = piece[:-1]
    piece = piece[-MAX_LINE:]
    at = piece.find(b"@")
    while at >= 0:
        match = _LINE.fullmatch(piece, at)
        if match and crc_hqx(piece[at : match.end(2)], 0xFFFF) == int(match[3], 16):
            return int(match[1], 16), match[2].decode("ascii")
        at = piece.find(b"@", at + 1)
    return None


class Framer:
    """Finds the lines in a stream, in bounded memory."""

    def __init__(self):
        self._rest = b""

    def feed(self, data):
        pieces = (self._rest + data).split(b"\n")
        self._rest = pieces.pop()[-MAX_LINE - 1 :]
        return [line for line in map(parse_line, pieces) if line]


class Session:
    """What the lines of one boot mean, given what was asked for.

    A result is handed out when the next line confirms it, or by close().
    """

    def __init__(self, build, arch, total, wanted):
        self.build, self.arch, self.total = build, arch, total
        self.wanted = set(wanted)
        self.started = False  # a hello came
        self.ended = False  # the end came
        self.over = False  # nothing more will count
        self.running = None
        self._framer = Framer()
        self._next = 0
        self._plan = None
        self._details = []
        self._last = None  # the last case that began
        self._pending = None  # the unconfirmed Result
        self._reported = {}  # case -> number of its R line
        self._counts = {"pass": 0, "fail": 0, "skip": 0, "error": 0}
        self._suspect = None  # number of a line that came again
        self._events = []

    @property
    def details(self):
        """What the running case has said so far."""
        return self._details

    def feed(self, data):
        """The events that @data brings."""
        for number, body in self._framer.feed(data):
            if self.over:
                break
            self._line(number, body)
        events, self._events = self._events, []
        return events

    def resolve(self):
        """The stream has ended: what a line that came again must mean then."""
        if self._suspect is not None and not self.over:
            self._break(self._again(), self._suspect, forged_before=None)
        events, self._events = self._events, []
        return events

    def close(self):
        """The result that waits for its confirmation, if any; nothing counts any more."""
        events = self.resolve()
        if self._pending:
            events.append(self._pending)
            self._pending = None
        self.over = True
        return events

    def _confirm(self):
        if self._pending:
            self._events.append(self._pending)
            self._pending = None

    def _line(self, number, body):
        if self._suspect is not None:
            # Which of the two lines of one number was the kernel's? The one that
            # it now goes on from.
            self._break(self._again(), self._suspect, number == self._suspect + 1)
            return
        if number != self._next:
            self._out_of_order(number, body)
            return
        self._next += 1
        if self.ended:
            self._break("a line after the end", number)
            return
        if not self.started and body[0] != "H":
            self._break("the first line is not a hello", number)
            return
        handler = self._HANDLERS.get(body[0])
        problem = handler(self, number, body) if handler else "unknown line"
        if problem:
            self._break(f"{problem}: {body!r}", number)

    def _out_of_order(self, number, body):
        if number > self._next:
            self._break(f"line {number:x} where line {self._next:x} must come", number)
        elif number == 0 and body.startswith(f"H 1 {self.build} "):
            self._break("the machine restarted", self._next, kind="restart")
        else:
            self._suspect = number

    def _again(self):
        return f"line {self._suspect:x} came again where line {self._next:x} must come"

    def _break(self, text, number, forged_before=False, kind="protocol"):
        """The stream cannot be believed any more.

        @forged_before: the lines from @number on were not the kernel's. None: perhaps.
        """
        self.over = True
        void = ()
        if forged_before is not False:
            void = tuple(c for c, line in sorted(self._reported.items()) if line >= number)
        if void and forged_before:
            blamed = void[0]
        elif self.running is not None:
            blamed = self.running
        else:
            blamed = self._pending.case if self._pending else None
        details = self._details if blamed == self.running else []
        if self._pending and self._pending.case == blamed:
            details = self._pending.details
        elif self._pending and self._pending.case not in void:
            self._confirm()
        self._pending = None
        self._events.append(Broken(kind, text, blamed, details, void))

    def _hello(self, number, body):
        match = _HELLO.fullmatch(body)
        if self.started or not match:
            return "bad hello"
        version, build, arch, boot, cases = match.groups()
        if int(version) != 1:
            return "unknown protocol version"
        if build != self.build:
            return f"another image than the one started, {self.build}"
        if arch != self.arch or int(cases, 16) != self.total:
            return "the hello does not fit the image"
        self.started = True
        self._events.append(Hello(boot))
        return None

    def _fingerprint(self, number, body):
        match = _FINGERPRINT.fullmatch(body)
        if not match or self._plan is not None:
            return "bad fingerprint"
        self._events.append(Fingerprint(match[1], unescape(match[2])))
        return None

    def _plan_line(self, number, body):
        match = _PLAN.fullmatch(body)
        cases = match and ranges.parse(match[2], self.total)
        if not cases or self._last is not None or len(cases) != int(match[1], 16):
            return "bad plan"
        self._plan = (self._plan or set()) | cases
        return None

    def _start(self, number, body):
        match = _START.fullmatch(body)
        if not match:
            return "bad start"
        if self._plan != self.wanted:
            return "the plan is not what was asked for"
        case = int(match[1], 16)
        if self.running is not None:
            return "a case begins inside another"
        if case not in self._plan:
            return "a case outside the plan"
        if self._last is not None and case <= self._last:
            return "a case out of order"
        self._confirm()
        self.running = self._last = case
        self._details = []
        self._events.append(Start(case))
        return None

    def _result(self, number, body):
        match = _RESULT.fullmatch(body)
        if not match:
            return "bad result"
        case = int(match[1], 16)
        if self.running is None or case != self.running:
            return "a result of a case that is not running"
        outcome = OUTCOMES[match[2] or match[3]]
        self._counts[outcome] += 1
        self._reported[case] = number
        self._pending = Result(case, outcome, unescape(match[4] or ""), self._details)
        self.running = None
        self._details = []
        return None

    def _detail(self, number, body):
        match = _DETAIL.fullmatch(body)
        if self.running is None or not match:
            return "a detail outside a case" if match else "bad detail"
        if len(self._details) < MAX_DETAILS:
            self._details.append((match[1], unescape(match[2])))
        return None

    def _give_up(self, number, body):
        self._break(unescape(body[1:].strip()) or "the kernel gave up", number, kind="gave-up")

    def _end(self, number, body):
        match = _END.fullmatch(body)
        if not match or self.running is not None:
            return "an end inside a case" if match else "bad end"
        if tuple(int(n, 16) for n in match.groups()) != tuple(self._counts.values()):
            return "the end's counts are not what was reported"
        if self._plan != self.wanted:
            return "the plan is not what was asked for"
        self.ended = True
        self._events.append(End(len(self._reported) == len(self.wanted)))
        return None

    _HANDLERS = {
        "H": _hello,
        "F": _fingerprint,
        "P": _plan_line,
        "S": _start,
        "R": _result,
        "D": _detail,
        "X": _give_up,
        "E": _end,
    }
