import json
import os
import subprocess
import sys
from types import SimpleNamespace

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(TESTS))
os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", os.path.join(ROOT, "build", "hypothesis"))

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

# The same examples every time.
settings.register_profile("vmxt", database=None, derandomize=True, deadline=None)
settings.load_profile("vmxt")

DATA = os.path.join(TESTS, "data")
sys.path.insert(0, os.path.dirname(TESTS))
VMXT = os.path.join(ROOT, "runner", "vmxt")
BUILD = os.path.abspath(os.path.join(ROOT, os.environ.get("BUILD") or "build"))


def compile_image(folder, name, *options):
    """An image NAME.elf without a machine, and a ROM that has only its slot."""
    folder.mkdir(parents=True, exist_ok=True)
    # The path of the source goes into the image: make it the same everywhere.
    command = ["gcc", "-m64", *options, "-fno-toplevel-reorder", "-ffreestanding", "-nostdlib", "-static"]
    command += ["-fno-pie", "-no-pie", "-Wl,--build-id", f"-I{ROOT}/lib", "suite.c"]
    subprocess.run([*command, "-o", str(folder / f"{name}.elf")], cwd=DATA, check=True)
    (folder / f"{name}.rom").write_bytes(b"VMXT-CMDLINE-01\0".ljust(65536, b"\0"))
    return folder


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """The folder fake_tests with the image suite."""
    return compile_image(tmp_path_factory.mktemp("image") / "fake_tests", "suite")


@pytest.fixture
def fake(image, tmp_path):
    """A runner of vmxt on the fake machine."""
    return Fake(image, tmp_path)


class Fake:
    def __init__(self, image, folder):
        self.image, self.folder = image, folder
        self.out = folder / "out"
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.script = folder / "script.json"
        self.target = folder / "fake.toml"
        self.limits = {"start": 5, "case": 1, "grace": 0.3, "stream": 256}
        self.output = "file"
        self.expectations = ""
        self.target_extra = ""

    def with_preflight(self):
        self.image = compile_image(self.folder / "fake_tests", "suite")
        compile_image(self.image, "preflight", "-DPREFLIGHT")

    def write(self, script):
        self.script.write_text(json.dumps(script))
        serial = "-" if self.output == "stdout" else "{serial}"
        words = [sys.executable, f"{DATA}/machine.py", "{rom}", "{elf}", serial, str(self.script)]
        limits = "".join(f"{key} = {value}\n" for key, value in self.limits.items())
        known = self.folder / "known.toml"
        known.write_text(self.expectations)
        self.target.write_text(
            f'title = "a fake"\nkind = "command"\nexpectations = ["{known}"]\n{self.target_extra}'
            f'[command]\ncommand = {json.dumps(words)}\noutput = "{self.output}"\n'
            f"[limits]\n{limits}"
        )

    def command(self, *words):
        return [VMXT, *words, "--target", str(self.target), "--kernels", str(self.image)]

    def environment(self):
        return {**os.environ, "TMPDIR": str(self.scratch), "TERM": "dumb"}

    def run(self, script, *words, check=None):
        self.write(script)
        done = subprocess.run(
            self.command("run", "--out", str(self.out), *words),
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(),
        )
        assert not done.stderr or check is None, done.stderr
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        assert check is None or list(self.scratch.iterdir()) == []
        return self.outcome(done)

    def outcome(self, done):
        events = []
        if (self.out / "events.jsonl").exists():
            lines = (self.out / "events.jsonl").read_text().splitlines()
            events = [json.loads(line) for line in lines]
        results = {}
        for event in events:
            if event["event"] == "result":
                results[event["id"]] = event
        return SimpleNamespace(
            status=done.returncode,
            text=done.stdout,
            errors=done.stderr,
            events=events,
            results=results,
            outcomes={ident: e["outcome"] for ident, e in results.items()},
        )


@pytest.fixture(scope="session")
def fixtures():
    subprocess.run(["make", "-s", "fixtures", f"BUILD={BUILD}"], cwd=ROOT, check=True)
    return os.path.join(BUILD, "x86_64", "fixtures")


@pytest.fixture
def bochs(fixtures, tmp_path):
    def run(*words, kernels=fixtures, target="bochs", environment=()):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        out = tmp_path / "out"
        command = [VMXT, "run", "--target", target, "--kernels", kernels, "--out", str(out), *words]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(scratch), "TERM": "dumb", **dict(environment)},
        )
        assert list(scratch.iterdir()) == []
        events = []
        if (out / "events.jsonl").exists():
            events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
        outcomes = {}
        for event in events:
            if event["event"] == "result":
                outcomes[event["id"].removeprefix("fixture.")] = event["outcome"]
        return SimpleNamespace(
            status=done.returncode,
            text=done.stdout,
            errors=done.stderr,
            outcomes=outcomes,
            events=events,
            out=out,
        )

    return run
