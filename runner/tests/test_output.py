"""What people and programs read, compared with snapshots (VMXT_UPDATE=1 renews them)."""
import json
import os
import re
import shutil
import subprocess

import pytest

from conftest import ROOT, TESTS, VMXT, compile_image

SNAPSHOTS = os.path.join(TESTS, "snapshots")
SCRIPT = {"0": "f", "2": "crash", "3": "s", "4": "e", "5": "x", "6": "hang"}
KNOWN = """
[[expect]]
id = "fake.first"
outcome = "fail"
reason = "the fake knows no CR0.NE"
sdm = "VM Entries > Host State"

[[expect]]
id = "fake.family.03"
outcome = "fail"
reason = "it used to"
sdm = "VM Exits"
"""


def same(name, text, *folders):
    for folder, label in folders:
        text = text.replace(str(folder), label)
    text = text.replace(ROOT, "ROOT")
    text = re.sub(r"\d+\.\d s$", "N s", text, flags=re.MULTILINE)
    text = re.sub(r'time="[0-9.]+"', 'time="N"', text)
    text = re.sub(r'"(seconds|runner|targets)": [0-9.]+', r'"\1": 0', text)
    text = re.sub(r'"started": "[^"]*"', '"started": ""', text)
    text = re.sub(r"vmxt-\w{8}", "vmxt-TEMP", text)
    text = re.sub(r"/\S+/python3?\b", "PYTHON", text)
    path = os.path.join(SNAPSHOTS, name)
    if os.environ.get("VMXT_UPDATE"):
        os.makedirs(SNAPSHOTS, exist_ok=True)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
    with open(path, encoding="utf-8") as stream:
        assert text == stream.read()


@pytest.mark.parametrize("name", ["plain.txt", "junit.xml", "results.ktap", "events.jsonl"])
def test_run(fake, name):
    fake.expectations = KNOWN
    run = fake.run(SCRIPT, "-j", "1")
    assert run.status == 1 and not run.errors
    text = run.text if name == "plain.txt" else (fake.out / name).read_text()
    places = [(fake.out, "OUT"), (fake.folder, "DIR"), (fake.image, "IMAGE")]
    places.insert(0, (os.path.relpath(fake.out), "OUT"))
    if name == "events.jsonl":
        text = re.sub(r'"bytes": \d+', '"bytes": 0', text)
    same(name, text, *places)


def test_terminal(fake):
    """On a terminal: colours, one live line, and the same summary."""
    import pty

    fake.write({"0": "f", "*": "slow"})
    master, slave = pty.openpty()
    process = subprocess.Popen(
        fake.command("run", "--out", str(fake.out)),
        stdout=slave,
        stderr=slave,
        env={**fake.environment(), "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(master)
    text = b"".join(parts).decode()
    assert process.wait(timeout=30) == 1
    assert "\x1b[1;31mFAIL   \x1b[0m" in text and "━" in text and "fake.family.0" in text
    assert text.count("FAIL") == 1 and "8 cases: \x1b[32m7 pass\x1b[0m" in text


@pytest.fixture
def project(tmp_path):
    """A small project: configs with a few rules, a build with one kernel."""
    configs = tmp_path / "configs"
    for name in ("targets", "rules"):
        (configs / name).mkdir(parents=True)
    for name in ("bochs", "kvm", "tcg"):
        shutil.copy(os.path.join(ROOT, "configs", "targets", f"{name}.toml"), configs / "targets")
    source = os.path.join(ROOT, "configs", "rules")
    for name in os.listdir(source):
        head = open(os.path.join(source, name), encoding="utf-8").readline()
        (configs / "rules" / name).write_text(head if name.endswith(".tsv") else "")
    names = ["RULE_A", "RULE_B", "RULE_CR0", "RULE_NE", "RULE_F", "RULE_OUT", "RULE_NONE"]
    with open(configs / "rules" / "ept.tsv", "a", encoding="utf-8") as stream:
        for number, name in enumerate(names):
            row = [name, "VM Entries > A", "both", "always", f"rule {name}", "good", "bad", "what"]
            stream.write("\t".join([*row, "1", f"4.{number}", ""]) + "\n")
    (configs / "rules" / "left-out.toml").write_text('RULE_OUT = "cannot be seen"\n')
    compile_image(tmp_path / "build" / "fake_tests", "suite")
    results = tmp_path / "results"
    results.mkdir()
    events = [
        {"event": "result", "id": "fake.first", "outcome": "pass", "ok": True, "target": "bochs"},
        {"event": "result", "id": "fake.cr0.ne", "outcome": "fail", "ok": False, "target": "bochs"},
    ]
    (results / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events) + '{"ev')

    def run(*words):
        command = [VMXT, *words, "--configs", str(configs)]
        if words[0] != "targets":
            command += ["--build", str(tmp_path / "build"), "--results", str(results)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout, done.stderr

    run.configs = configs
    return run


@pytest.mark.parametrize(
    "name, words",
    [
        ("list.txt", ["list"]),
        ("list-kernels.txt", ["list", "--kernels-only"]),
        ("list-needs.txt", ["list", "--needs"]),
        ("list.json", ["list", "fake.cr0.ne", "--json"]),
        ("list-last.txt", ["list", "last:bad"]),
        ("show.txt", ["show", "fake.cr0.ne"]),
        ("show.json", ["show", "fake.cr0.ne", "--json"]),
        ("rules.txt", ["rules"]),
        ("rules-book.txt", ["rules", "--by", "book"]),
        ("rules.json", ["rules", "--by", "section", "--json"]),
        ("rules-uncovered.txt", ["rules", "--uncovered", "--left-out"]),
        ("rules-pattern.json", ["rules", "RULE_NE", "--json"]),
    ],
)
def test_commands(project, tmp_path, name, words):
    status, text, errors = project(*words)
    assert status == 0 and not errors
    same(name, text, (tmp_path, "DIR"))


def test_check(project):
    status, text, _errors = project("list", "--check")
    assert status == 0 and "nothing to complain of" in text
    expectations = project.configs / "expectations"
    expectations.mkdir()
    (expectations / "bochs.toml").write_text(
        '[[expect]]\nid = "fake.old"\noutcome = "skip"\nreason = "x"\n'
    )
    path = project.configs / "rules" / "ept.tsv"
    path.write_text(path.read_text().replace("RULE_CR0\t", "RULE_CR4\t"))
    status, text, _errors = project("list", "--check")
    assert status == 1
    assert "bochs.toml:1: 'fake.old' matches no case" in text
    assert "suite.c:32: fake.cr0.pe names the unknown rule RULE_CR0" in text


def test_targets(project):
    status, text, _errors = project("targets")
    assert status == 0 and "* bochs" in text or "* kvm" in text
    rows = json.loads(project("targets", "--json")[1])
    assert {"bochs", "kvm", "tcg"} <= {row["name"] for row in rows}
    assert sum(row["default"] for row in rows) == 1
    assert project("targets", "--default")[1].strip() in ("bochs", "kvm")


@pytest.mark.parametrize(
    "words, status, error",
    [
        (["list", "no.such"], 3, "no case is selected"),
        (["list", "=fake.cr0.nee"], 3, "is it fake.cr0.ne"),
        (["list", "fake.first", "=fake.no"], 2, "no case has the id fake.no"),
        (["list", "("], 2, "ends too early"),
        (["list", "@/no/such/file"], 2, "No such file"),
        (["show", "fake.none"], 3, "no case has the id"),
        (["run", "--target", "nowhere"], 2, "no target 'nowhere' (there are: "),
        (["run", "--target", "kvm", "--repeat", "0"], 2, "--repeat"),
        (["rules", "NO_SUCH"], 3, "no rule is selected"),
        (["run", "--failed-from", "/no/such/dir"], 4, "/no/such/dir/events.jsonl"),
    ],
)
def test_errors(project, words, status, error):
    found, text, errors = project(*words)
    assert (found, text) == (status, "") and error in errors
