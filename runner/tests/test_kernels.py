"""Real kernels that behave badly, on the real Bochs."""
import os
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

from conftest import VMXT

# What each bad kernel's cases become; all others of it pass.
BAD = {
    "triple_fault": {"triple-fault.bad": "crash"},
    "stop": {"stop.silent": "crash", "stop.early-end": "error"},
    "babble": {"babble.fail": "fail"},
    "panic": {"panic.exception": "error", "panic.gives-up": "error"},
    "restart": {"restart.bad": "crash"},
    "hang": {"hang.spin": "timeout", "hang.halt": "timeout"},
    "endless": {"endless.noise": "error", "endless.details": "error"},
    "forge": {
        **dict.fromkeys(("forge.own-pass", "forge.other-pass", "forge.stray"), "error"),
        **dict.fromkeys(("forge.future", "forge.all", "forge.hello"), "error"),
        **dict.fromkeys(("forge.wrong-sum", "forge.text"), "fail"),
    },
}


@pytest.mark.parametrize("kernel, bad", BAD.items())
def test_bad_kernel_costs_its_bad_cases_only(bochs, kernel, bad):
    words = ["--timeout", "1"] if kernel in ("hang", "endless") else []
    run = bochs(f"kernel:{kernel}", *words)
    assert run.status == 1, run.text + run.errors
    assert len(run.outcomes) > len(bad)
    found = {ident: outcome for ident, outcome in run.outcomes.items() if outcome != "pass"}
    if kernel == "endless":  # by time or by size, as fast as the machine is
        found = {ident: "error" if o == "timeout" else o for ident, o in found.items()}
    assert found == bad
    names = [t.get("name") for t in ET.parse(run.out / "junit.xml").iter("testcase")]
    assert len(names) == len(set(names)) == len(run.outcomes)


def test_image_and_elf_that_do_not_belong_together(fixtures, bochs, tmp_path):
    folder = tmp_path / "odd_tests"
    folder.mkdir()
    (folder / "stop.elf").symlink_to(os.path.join(fixtures, "stop.elf"))
    (folder / "stop.rom").symlink_to(os.path.join(fixtures, "hang.rom"))
    run = bochs(kernels=str(folder))
    assert run.status == 4 and "another image" in run.text
    assert set(run.outcomes.values()) == {"not-run"}


@pytest.mark.parametrize("isolate", [(), ("--isolate",)])
def test_outcomes(bochs, isolate):
    run = bochs("kernel:outcomes", *isolate)
    assert run.status == 1
    assert run.outcomes == {
        "outcomes.pass": "pass",
        "outcomes.fail": "fail",
        "outcomes.skip": "skip",
        "outcomes.error": "error",
        "outcomes.nothing": "error",
    }


def test_tcg(bochs):
    """The same image on QEMU, which has no VMX."""
    run = bochs("kernel:outcomes", "--no-preflight", target="tcg")
    assert run.outcomes["outcomes.pass"] == "pass" and run.outcomes["outcomes.fail"] == "fail"


def test_other_binaries(bochs, tmp_path):
    missing = bochs("kernel:outcomes", environment={"BOCHS": "/nowhere/bochs"}.items())
    assert missing.status == 4 and "/nowhere/bochs is not installed" in missing.errors
    other = tmp_path / "bochs"
    other.write_text("#!/bin/sh\necho this is another bochs\nexit 1\n")
    other.chmod(0o755)
    broken = bochs("kernel:outcomes", environment={"BOCHS": str(other)}.items())
    assert broken.status == 4 and "this is another bochs" in broken.text


def listening():
    """Local addresses of everything that listens on this machine."""
    found = set()
    for name in ("tcp", "tcp6", "udp", "udp6"):
        with open(f"/proc/net/{name}", encoding="ascii") as stream:
            rows = [line.split() for line in stream][1:]
        found |= {row[1] for row in rows if row[3] in ("0A", "07")}
    return found


@pytest.mark.parametrize("target", ["bochs", "tcg"])
def test_no_port_is_opened(fixtures, tmp_path, target):
    command = [VMXT, "run", "=fixture.hang.spin", "--target", target, "--kernels", fixtures]
    before, during = listening(), set()
    with subprocess.Popen(
        [*command, "--timeout", "1", "--out", str(tmp_path / "out")], stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            during |= listening()
            time.sleep(0.1)
    assert process.returncode == 1
    assert during <= before


def test_wrong_model(bochs):
    run = bochs("kernel:outcomes", "--cpu", "no_such_cpu")
    assert run.status == 4 and "no_such_cpu" in run.text
