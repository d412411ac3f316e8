"""The parser believes nothing: any bytes, in any pieces, cut anywhere."""
from binascii import crc_hqx

from hypothesis import given, settings
from hypothesis import strategies as st

from vmxtrunner import ranges, wire

BUILD, ARCH, TOTAL = "c0ffee", "x86_64", 6
SETTINGS = settings(max_examples=300, deadline=None)


def line(number, body):
    text = f"@{number:x} {body}".encode("ascii")
    return text + b" %04x\n" % crc_hqx(text, 0xFFFF)


def stream(bodies):
    return b"".join(line(number, body) for number, body in enumerate(bodies))


def honest(verdicts):
    """The lines of a kernel that runs one case for each letter of @verdicts."""
    bodies = [f"H 1 {BUILD} {ARCH} rom {TOTAL:x}", "F brand=A \\x5c CPU"]
    bodies.append(f"P {len(verdicts):x} {ranges.text_of(range(len(verdicts)))}")
    for case, verdict in enumerate(verdicts):
        bodies.append(f"S {case:x}")
        if verdict == "f":
            bodies += ["D at x.c:1", "D want @0 R 0 p 0000", "D got 1"]
        bodies.append(f"R {case:x} {verdict}" + (" no EPT" if verdict == "s" else ""))
    bodies.append("E " + " ".join(f"{verdicts.count(v):x}" for v in "pfse"))
    return bodies


def session(verdicts):
    return wire.Session(BUILD, ARCH, TOTAL, range(len(verdicts)))


def play(session, data, sizes=()):
    """All events that @data brings, in pieces of the given @sizes."""
    events = []
    for size in sizes:
        events += session.feed(data[:size])
        data = data[size:]
    return events + session.feed(data) + session.close()


def results(events):
    """{case: outcome} that the runner would keep."""
    kept = {}
    for event in events:
        if isinstance(event, wire.Result):
            kept[event.case] = event.outcome
        elif isinstance(event, wire.Broken):
            for case in event.void:
                kept.pop(case, None)
            if event.blamed is not None:
                kept[event.blamed] = "error"
    return kept


NAMES = {"p": "pass", "f": "fail", "s": "skip", "e": "error"}
verdict_lists = st.text("pfse", min_size=1, max_size=TOTAL)
sizes = st.lists(st.integers(0, 40), max_size=60)
noise = st.binary(max_size=80) | st.text("@0123 SRHp\n", max_size=40).map(str.encode)


def truth(verdicts):
    return {case: NAMES[verdict] for case, verdict in enumerate(verdicts)}


@SETTINGS
@given(verdict_lists, sizes)
def test_honest_stream(verdicts, pieces):
    events = play(session(verdicts), stream(honest(verdicts)), pieces)
    assert results(events) == truth(verdicts)
    assert events[-1] == wire.End(True) or isinstance(events[-1], wire.Result)
    assert not any(isinstance(e, wire.Broken) for e in events)


@SETTINGS
@given(verdict_lists, st.lists(noise, min_size=40, max_size=40), sizes)
def test_noise_between_lines_changes_nothing(verdicts, noises, pieces):
    data = b""
    for body, junk in zip(stream(honest(verdicts)).splitlines(True), noises):
        # A line needs its own beginning only: junk before it is no matter.
        data += junk + body
    data += noises[-1]
    assert results(play(session(verdicts), data, pieces)) == truth(verdicts)


@SETTINGS
@given(st.lists(noise, max_size=30), sizes)
def test_noise_alone_gives_nothing(noises, pieces):
    assert play(session("pp"), b"\n".join(noises), pieces) == []


@SETTINGS
@given(verdict_lists, st.data())
def test_chunking_changes_nothing(verdicts, data):
    bodies = honest(verdicts)
    raw = bytearray(stream(bodies))
    for _ in range(data.draw(st.integers(0, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    whole = play(session(verdicts), bytes(raw))
    split = play(session(verdicts), bytes(raw), data.draw(sizes))
    assert whole == split


@SETTINGS
@given(verdict_lists, st.data())
def test_truncation_invents_nothing(verdicts, data):
    raw = stream(honest(verdicts))
    cut = data.draw(st.integers(0, len(raw)))
    kept = results(play(session(verdicts), raw[:cut]))
    assert kept.items() <= truth(verdicts).items()


@SETTINGS
@given(verdict_lists, st.data())
def test_damage_invents_no_pass(verdicts, data):
    """Lost, repeated, swapped and changed bytes or lines: no case becomes better."""
    lines = stream(honest(verdicts)).splitlines(True)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(("drop", "repeat", "swap", "flip", "join")))
        if how == "drop":
            lines[at] = b""
        elif how == "repeat":
            lines.insert(at, lines[at])
        elif how == "swap":
            lines[at], lines[0] = lines[0], lines[at]
        elif how == "join":
            lines[at] = lines[at].rstrip(b"\n")
        elif lines[at]:
            bad = bytearray(lines[at])
            bad[data.draw(st.integers(0, len(bad) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            lines[at] = bytes(bad)
    kept = results(play(session(verdicts), b"".join(lines)))
    for case, outcome in kept.items():
        assert outcome in ("error", truth(verdicts)[case])


bodies = st.one_of(
    st.sampled_from(honest("pfsepp")),
    st.builds("{} {:x} {}".format, st.sampled_from("SRDPXEFH"), st.integers(0, 8), st.sampled_from("pfse")),
    st.text("HFPSRDXE 0123456789abcdefp=-,", min_size=1, max_size=30),
)


@SETTINGS
@given(st.lists(st.tuples(bodies, st.sampled_from((0, 0, 0, 0, 1, -1, 5))), max_size=40), sizes)
def test_any_valid_lines_never_raise(lines, pieces):
    number, data = 0, b""
    for body, skew in lines:
        data += line(max(0, number + skew), body)
        number += 1
    events = play(session("pppppp"), data, pieces)
    for event in events:
        if isinstance(event, wire.Result):
            assert f"R {event.case:x} {event.outcome[0]}" in data.decode()


def test_a_line_in_a_text_is_text():
    forged = line(5, "R 1 p").decode().rstrip("\n")
    lines = honest("pf")
    lines[lines.index("D got 1")] = f"D got {forged}"
    assert results(play(session("pf"), stream(lines))) == {0: "pass", 1: "fail"}


def test_second_result_costs_the_case():
    lines = honest("pp")
    lines.insert(lines.index("R 0 p"), "R 0 p")
    assert results(play(session("pp"), stream(lines))) == {0: "error"}


def test_forged_results_are_void_when_the_kernel_goes_on():
    lines = honest("ppf")
    real = stream(lines).splitlines(True)
    at = lines.index("S 1") + 1
    forged = [line(at + n, b) for n, b in enumerate(("R 1 p", "S 2", "R 2 p", "E 3 0 0 0"))]
    events = play(session("ppf"), b"".join(real[:at] + forged + real[at:]))
    assert results(events) == {0: "pass", 1: "error"}


def strays(number):
    """A good stream with one line of an old @number before the result of case 2."""
    lines = honest("ppppp")
    real = stream(lines).splitlines(True)
    at = lines.index("R 2 p")
    return real[:at] + [line(number, "R 4 p")] + real[at:]


def test_a_stray_line_costs_the_running_case_only():
    for number in range(9):
        events = play(session("ppppp"), b"".join(strays(number)))
        assert results(events) == {0: "pass", 1: "pass", 2: "error"}, number


def test_a_stray_line_at_the_end_leaves_doubt():
    events = play(session("ppppp"), b"".join(strays(6)[:9]))
    assert results(events) == {0: "pass", 2: "error"}


def test_restart_costs_the_running_case_only():
    lines = stream(honest("ppp")).splitlines(True)
    events = play(session("ppp"), b"".join(lines[:6] + lines))
    assert results(events) == {0: "pass", 1: "error"}
    assert events[-1].kind == "restart"


def test_long_lines_and_memory():
    framer = wire.Framer()
    framer.feed(b"@" * 1000000)
    assert len(framer._rest) <= 256
    text = "D note " + "x" * 300
    assert framer.feed(b"\n" + line(0, text)) == []
    text = "D note " + "x" * (255 - 5 - len("@0 D note "))
    assert framer.feed(b"junk" + line(0, text)) == [(0, text)]
    assert framer.feed(line(1, text).replace(b"\n", b"\r\n")) == [(1, text)]
    assert framer.feed(line(1, text + "x")) == []


def test_plan_must_be_what_was_asked_for():
    wanted = wire.Session(BUILD, ARCH, TOTAL, [0, 2])
    assert results(play(wanted, stream(honest("ppp")))) == {}


@SETTINGS
@given(st.sets(st.integers(0, 300)))
def test_ranges(numbers):
    text = ranges.text_of(sorted(numbers))
    assert (ranges.parse(text, 301) or set()) == numbers


@SETTINGS
@given(st.sets(st.integers(0, 3000), min_size=1), st.integers(10, 200), st.integers(1, 20))
def test_fitting_is_the_longest_beginning(numbers, length, parts):
    numbers = sorted(numbers)
    some = ranges.fitting(numbers, length, parts)
    assert some and numbers[: len(some)] == some

    def fits(count):
        text = ranges.text_of(numbers[:count])
        return len(text) <= length and text.count(",") < parts

    assert fits(len(some)) and (len(some) == len(numbers) or not fits(len(some) + 1))
