"""However a run ends, it leaves valid reports and nothing else."""
import json
import os
import resource
import signal
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

from test_run import ALL, expected


def start(fake, script, *words, **options):
    fake.write(script)
    return subprocess.Popen(
        fake.command("run", "--out", str(fake.out), *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=fake.environment(),
        start_new_session=True,
        **options,
    )


def finish(fake, process):
    text, errors = process.communicate(timeout=30)
    done = subprocess.CompletedProcess([], process.returncode, text, errors)
    return fake.outcome(done)


def wait_for(fake, words):
    """Until events.jsonl has @words."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        path = fake.out / "events.jsonl"
        if path.exists() and words in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"no {words} in events.jsonl")


def children(fake):
    """Processes of the fake machine that still live."""
    found = []
    for name in os.listdir("/proc"):
        try:
            command = open(f"/proc/{name}/cmdline", "rb").read() if name.isdigit() else b""
        except OSError:
            continue
        if str(fake.script).encode() in command:
            found.append(name)
    return found


def reports_are_valid(fake):
    tree = ET.parse(fake.out / "junit.xml")
    names = [test.get("name") for test in tree.iter("testcase")]
    assert sorted(names) == sorted(ALL)
    ktap = (fake.out / "results.ktap").read_text()
    assert f"1..{len(ALL)}" in ktap and not (fake.out / ".reserve").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal(fake, number):
    fake.limits["case"] = 30
    process = start(fake, {"3": "hang"})
    wait_for(fake, "fake.cr0.ne")
    process.send_signal(number)
    began = time.monotonic()
    run = finish(fake, process)
    assert time.monotonic() - began < 5
    assert run.status == 4 and f"stopped by {number.name}" in run.text
    lost = {name: "not-run" for name in ("pg", "00", "01", "02", "03")}
    assert run.outcomes == expected(**lost)
    reports_are_valid(fake)
    assert list(fake.scratch.iterdir()) == [] and children(fake) == []


def test_killed_runner_takes_its_targets_along(fake):
    fake.limits["case"] = 30
    process = start(fake, {"3": "hang"})
    wait_for(fake, "fake.cr0.ne")
    assert children(fake)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 5
    while children(fake) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert children(fake) == []
    for line in (fake.out / "events.jsonl").read_text().splitlines():
        json.loads(line)
    # The next run removes what the killed one left.
    (left,) = fake.scratch.iterdir()
    os.utime(left, (0, 0))
    fake.run({}, check=0)


def test_nothing_stays(fake):
    fake.run({"0": "child", "2": "hang", "4": "flood"}, check=1)
    assert children(fake) == []


def test_file_size_limit_stands_for_a_full_disk(fake):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))

    fake.limits["stream"] = 4096
    process = start(fake, {"4": "flood"}, preexec_fn=limit)
    run = finish(fake, process)
    assert run.status in (1, 4)
    reports_are_valid(fake)
    assert run.outcomes["fake.first"] == "pass"


def test_full_disk(fake):
    """DIR on a file system of 300 KB: the logs of a noisy kernel do not fit."""
    fake.out.mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    probe = subprocess.run(
        [*command, f"mount -t tmpfs -o size=300k none {fake.out}"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("no right to mount a small file system here")
    fake.limits["stream"] = 400
    fake.write({"3": "flood"})
    run = " ".join(fake.command("run", "--out", str(fake.out)))
    keep = fake.folder / "keep"
    text = f"mount -t tmpfs -o size=300k none {fake.out}; {run}; s=$?; cp -r {fake.out} {keep}; exit $s"
    done = subprocess.run(
        [*command, text], capture_output=True, text=True, timeout=60, env=fake.environment(), check=False
    )
    fake.out = keep
    result = fake.outcome(done)
    assert result.status == 4 and "the disk is full" in result.text
    assert result.outcomes == expected(**dict.fromkeys(("00", "01", "02", "03"), "not-run"), pg="error")
    reports_are_valid(fake)


def test_output_folder_that_cannot_be(fake):
    fake.out.write_text("a file")
    run = fake.run({})
    assert run.status == 4 and "cannot write there" in run.errors


def test_closed_output(fake):
    """vmxt run | head: the run goes on, and its reports are whole."""
    process = start(fake, {"*": "f"})
    process.stdout.close()
    process.wait(timeout=30)
    process.stderr.close()
    assert process.returncode == 1
    reports_are_valid(fake)


def test_two_runs_into_one_folder(fake):
    process = start(fake, {"*": "slow"})
    wait_for(fake, '"boot"')
    second = fake.run({"*": "slow"})
    assert second.status == 4 and "another run writes there" in second.errors
    assert finish(fake, process).status == 0
