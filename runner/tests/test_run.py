"""vmxt run on the fake machine: every way in which a boot can go wrong."""
import xml.etree.ElementTree as ET

import pytest

ALL = ["fake.first", "fake.cr0.pe", "fake.cr0.ne", "fake.cr0.pg"]
ALL += [f"fake.family.{n:02}" for n in range(4)]


def expected(**other):
    return {ident: other.get(ident.rpartition(".")[2], "pass") for ident in ALL}


@pytest.mark.parametrize("output", ["file", "pipe", "stdout"])
def test_all_pass(fake, output):
    fake.output = output
    run = fake.run({}, check=0)
    assert run.outcomes == expected()
    for name in ("junit.xml", "results.ktap"):
        assert (fake.out / name).exists()
    assert not (fake.out / ".reserve").exists()


def test_outcomes_of_the_kernel(fake):
    run = fake.run({"0": "f", "1": "s", "2": "e"}, check=1)
    assert run.outcomes == expected(first="fail", pe="skip", ne="error")
    assert run.results["fake.cr0.pe"]["reason"].startswith("no EPT")
    assert "CR0.NE" in run.text and "0x0 (bit 5: NE)" in run.text
    assert "\x1b" not in run.text


@pytest.mark.parametrize(
    "what, outcome",
    [
        ("crash", "crash"),
        ("hang", "timeout"),
        ("x", "error"),
        ("flood", "error"),
        ("chatter", "error"),
        ("forge", "error"),
        ("skip-line", "error"),
        ("after", "crash"),
    ],
)
def test_one_bad_case_costs_one_case(fake, what, outcome):
    run = fake.run({"2": what}, check=1)
    assert run.outcomes == expected(ne=outcome)


def test_last_case_unconfirmed(fake):
    run = fake.run({"7": "after"}, check=1)
    assert run.outcomes["fake.family.03"] == "crash"


def test_forged_lines_of_other_cases(fake):
    run = fake.run({"2": "forge-far"}, check=1)
    assert run.outcomes == expected(ne="error")


@pytest.mark.parametrize("boot", ["miscount", "more"])
def test_false_end(fake, boot):
    run = fake.run({"boot": boot}, check=1)
    assert run.outcomes["fake.family.03"] == "error"


def test_noise_before_hello(fake):
    assert fake.run({"boot": "noise"}, check=0).outcomes == expected()


def test_target_that_stays_is_ended(fake):
    assert fake.run({"boot": "stay"}, check=0).outcomes == expected()


def test_child_processes_are_ended(fake):
    assert fake.run({"0": "child"}, check=0).outcomes == expected()


@pytest.mark.parametrize("boot", ["silent", "other", "mute"])
def test_no_hello_is_infrastructure(fake, boot):
    fake.limits["start"] = 1
    run = fake.run({"boot": boot}, check=4)
    if boot == "other":
        # Each boot says hello wrongly: nothing can be believed.
        assert set(run.outcomes.values()) <= {"error", "not-run"}
    else:
        assert set(run.outcomes.values()) == {"not-run"}
        assert "never said hello" in run.text


def test_ends_before_a_case(fake):
    run = fake.run({"3": "before"}, check=1)
    assert run.outcomes == expected(pg="crash")


def test_ends_too_early(fake):
    run = fake.run({"3": "stop"}, check=1)
    assert run.outcomes == expected(pg="not-run")


def test_every_case_crashes(fake):
    run = fake.run({"*": "crash"}, check=1)
    assert set(run.outcomes.values()) == {"crash"}


def test_each_boot_crashes_before_its_case(fake):
    run = fake.run({"*": "before"}, check=1)
    assert set(run.outcomes.values()) == {"crash"}


def test_nothing_ever_begins(fake):
    fake.limits["start"] = 0.3
    run = fake.run({"*": "idle"}, check=4)
    assert list(run.outcomes.values()).count("timeout") == 3
    assert list(run.outcomes.values()).count("not-run") == 5


def test_isolate(fake):
    run = fake.run({"2": "crash"}, "--isolate", "-j", "3", check=1)
    assert run.outcomes == expected(ne="crash")
    assert sum(e["event"] == "boot" for e in run.events) == 8


def test_fail_fast(fake):
    run = fake.run({"1": "f", "2": "slow"}, "--fail-fast", check=1)
    assert run.outcomes["fake.cr0.pe"] == "fail"
    assert run.outcomes["fake.family.03"] == "not-run"


def test_max_time(fake):
    run = fake.run({"*": "slow"}, "--max-time", "1", check=1)
    assert run.outcomes["fake.first"] == "pass"
    assert run.outcomes["fake.family.03"] == "not-run"


def test_timeout_option(fake):
    run = fake.run({"*": "slow"}, "--timeout", "0.1", "fake.cr0", check=1)
    assert set(run.outcomes.values()) == {"timeout"}


def test_repeat(fake):
    run = fake.run({}, "--repeat", "3", "=fake.first", check=0)
    assert sum(e["event"] == "result" for e in run.events) == 3
    tree = ET.parse(fake.out / "junit.xml")
    names = [(t.get("classname"), t.get("name")) for t in tree.iter("testcase")]
    assert len(set(names)) == 3


def test_failed_from(fake):
    fake.run({"1": "f", "4": "crash"}, check=1)
    run = fake.run({}, "--failed-from", str(fake.out), check=0)
    assert run.outcomes == {"fake.cr0.pe": "pass", "fake.family.00": "pass"}


def test_nothing_selected(fake):
    assert fake.run({}, "nothing.*").status == 3


def test_expectations(fake):
    fake.expectations = """
[[expect]]
id = "fake.cr0.*"
outcome = "fail"
reason = "it is a fake"
sdm = "VM Entries"
when = { brand = "Fake*" }

[[expect]]
id = "fake.first"
outcome = "crash"
reason = "no such CPU"
sdm = "VM Entries"
when = { brand = "Real*" }
"""
    run = fake.run({"1": "f", "2": "f", "3": "crash", "0": "crash"}, check=1)
    assert run.outcomes == expected(first="crash", pe="xfail", ne="xfail", pg="crash")
    run = fake.run({"1": "f", "2": "f"}, check=1)
    assert run.outcomes == expected(pe="xfail", ne="xfail", pg="xpass")


def test_known_crash_runs_alone_and_last(fake):
    fake.expectations = """
[[expect]]
id = "fake.cr0.pe"
outcome = "crash"
reason = "it is a fake"
sdm = "VM Entries"
"""
    run = fake.run({"1": "crash"}, check=0)
    assert run.outcomes == expected(pe="xfail")
    boots = [e["cases"] for e in run.events if e["event"] == "boot"]
    assert boots[-1] == "1" and not any(b.startswith("0-") for b in boots), boots


def test_preflight_runs_first_and_is_no_result(fake):
    fake.with_preflight()
    run = fake.run({}, "fake.cr0", check=0)
    assert set(run.outcomes) == {"fake.cr0.pe", "fake.cr0.ne", "fake.cr0.pg"}
    assert [e["kernel"] for e in run.events if e["event"] == "boot"] == [
        "fake_tests/preflight",
        "fake_tests/suite",
    ]
    run = fake.run({}, "fake.cr0", "--no-preflight", check=0)
    assert sum(e["event"] == "boot" for e in run.events) == 1
    run = fake.run({}, check=0)
    assert len(run.outcomes) == 10


@pytest.mark.parametrize("what", ["f", "crash", "hang", "e", "before"])
def test_broken_target(fake, what):
    fake.with_preflight()
    run = fake.run({"preflight": {"1": what}}, "fake.cr0", check=4)
    assert "broken target" in run.text
    assert all(run.outcomes[i] == "not-run" for i in ALL[1:4])
    assert run.outcomes["preflight.second"] != "pass"
    assert {e["kernel"] for e in run.events if e["event"] == "boot"} == {"fake_tests/preflight"}


def test_preflight_that_never_begins(fake):
    fake.with_preflight()
    run = fake.run({"preflight": {"boot": "silent"}}, "fake.cr0", check=4)
    assert set(run.outcomes.values()) == {"not-run"} and len(run.outcomes) == 3


def test_known_deviation_in_preflight(fake):
    fake.with_preflight()
    fake.expectations = (
        '[[expect]]\nid = "preflight.second"\noutcome = "fail"\nreason = "x"\nsdm = "y"\n'
    )
    run = fake.run({"preflight": {"1": "f"}}, "fake.cr0", check=0)
    assert len(run.outcomes) == 3


def test_strict(fake):
    assert fake.run({"1": "s"}).status == 0
    assert fake.run({"1": "s"}, "--strict").status == 1
    fake.expectations = '[[expect]]\nid = "fake.cr0.pe"\noutcome = "skip"\nreason = "x"\n'
    assert fake.run({"1": "s"}, "--strict").status == 0
    assert fake.run({}).outcomes["fake.cr0.pe"] == "xpass"
