"""The nested host in a box, for real: Linux in Bochs, KVM in that, kernels in that."""
import json
import os
import signal
import subprocess
import threading
import time

import pytest

from conftest import ROOT, VMXT
from vmxtrunner import appliance_image, packages
from vmxtrunner.errors import Infrastructure

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="session")
def image():
    try:
        return appliance_image.ensure("6.1")
    except Infrastructure as error:
        if "network" in str(error) and not os.environ.get("CI"):
            pytest.skip(str(error))
        raise


@pytest.fixture
def inner(image, fixtures, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(*words, meanwhile=None):
        out = tmp_path / "out"
        command = [VMXT, "run", "--target", "kvm-in-bochs", "--kernels", fixtures, "--no-preflight"]
        command += ["-j", "1", "--timeout", "8", "--out", str(out), *words]
        environment = {**os.environ, "TMPDIR": str(scratch), "TERM": "dumb"}
        if meanwhile:
            threading.Thread(target=meanwhile, args=(scratch, out), daemon=True).start()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=400, cwd=ROOT, env=environment
        )
        assert list(scratch.iterdir()) == []
        assert not list(_processes(scratch))
        events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        return done, {e["id"]: e for e in events if e["event"] == "result"}

    return run


def _processes(folder):
    """The processes that work below @folder."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.readlink(f"/proc/{name}/cwd").startswith(str(folder)):
                yield int(name)
        except OSError:
            continue


def test_bad_kernels_cost_a_case_each(inner):
    """One inner host serves a kernel that faults and one that hangs, and goes on."""
    done, results = inner("fixtures/triple_fault or fixtures/hang or fixtures/outcomes")
    outcomes = {ident.removeprefix("fixture."): r["outcome"] for ident, r in results.items()}
    assert outcomes["triple-fault.bad"] == "crash"
    assert outcomes["hang.spin"] == outcomes["hang.halt"] == "timeout"
    assert "not-run" not in outcomes.values()
    assert list(outcomes.values()).count("pass") >= 6
    assert done.returncode == 1, done.stderr


def _kill_bochs(scratch, out):
    """Ends Bochs, as soon as a case has begun to hang."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        time.sleep(0.2)
        try:
            text = (out / "events.jsonl").read_text()
        except OSError:
            continue
        if '"outcome": "pass"' in text:
            for process in _processes(scratch):
                os.kill(process, signal.SIGKILL)
            return


def test_a_killed_bochs_costs_one_case(inner):
    done, results = inner("fixtures/hang", meanwhile=_kill_bochs)
    outcomes = [r["outcome"] for r in results.values()]
    assert outcomes.count("crash") == 1 and "not-run" not in outcomes
    crashed = next(r for r in results.values() if r["outcome"] == "crash")
    assert "Bochs ended" in crashed["reason"]
    assert outcomes.count("pass") == 3, done.stdout


def test_damaged_image_is_made_again(image):
    with open(image.memory, "r+b") as stream:
        stream.seek(0x2000000)
        byte = stream.read(1)
        stream.seek(0x2000000)
        stream.write(bytes([byte[0] ^ 1]))
    before = packages.digest(image.memory)
    assert packages.digest(appliance_image.ensure("6.1").memory) != before


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("VMXT_MIRROR", f"file://{tmp_path}/nothing")
    with pytest.raises(Infrastructure, match="is there a network"):
        appliance_image.ensure("6.1")
