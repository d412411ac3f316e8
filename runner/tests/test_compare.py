"""vmxt compare and vmxt deviations."""
import json
import os
import subprocess

import pytest

from conftest import ROOT, VMXT
from vmxtrunner import compare, deviations


def result(outcome, got="", sdm="Chapter > Section"):
    details = [["want", "0x1"], ["got", got]] if got else []
    return {"event": "result", "outcome": outcome, "raw": outcome, "sdm": sdm, "details": details}


def run(tmp_path, name, **results):
    folder = tmp_path / name
    folder.mkdir()
    lines = [json.dumps({**r, "id": i.replace("_", "."), "target": name}) for i, r in results.items()]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


def vmxt(*words):
    return subprocess.run([VMXT, *words], capture_output=True, text=True, cwd=ROOT)


def test_alike(tmp_path):
    one = run(tmp_path, "one", a=result("pass"), b=result("fail", "0x2"), c=result("pass"))
    two = run(tmp_path, "two", a=result("pass"), b=result("fail", "0x2"), c=result("skip"))
    done = vmxt("compare", one, two)
    assert done.returncode == 0 and done.stdout == "3 cases: 0 differ, 0 of them worse than in one (!)\n"


def test_regression_and_both_values(tmp_path):
    one = run(tmp_path, "one", a_b=result("pass"), c=result("fail", "0x2"))
    two = run(tmp_path, "two", a_b=result("fail", "0x9"), c=result("fail", "0x3"))
    done = vmxt("compare", one, two)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "Chapter > Section"
    assert lines[2].split() == ["!", "a.b", "pass:", "0x1", "fail:", "0x9"]
    assert lines[3].split() == ["c", "fail:", "0x2", "fail:", "0x3"]
    assert lines[-1] == "2 cases: 2 differ, 1 of them worse than in one (!)"
    told = json.loads(vmxt("compare", "--json", one, two).stdout)
    assert told["regressions"] == 1 and told["differences"][1]["results"][1]["got"] == "0x3"


def test_better_is_no_regression(tmp_path):
    one = run(tmp_path, "one", a=result("fail", "0x2"))
    two = run(tmp_path, "two", a=result("pass"))
    assert vmxt("compare", one, two).returncode == 0


@pytest.mark.parametrize("worse", ["fail", "error", "crash", "timeout", "not-run", "xpass"])
def test_each_way_to_get_worse(worse):
    (found,) = compare.differences([{"a": result("pass")}, {"a": result(worse)}])
    assert found["regression"]


def test_a_case_that_is_gone_is_worse():
    (found,) = compare.differences([{"a": result("pass")}, {}])
    assert found["regression"]
    (found,) = compare.differences([{}, {"a": result("fail")}])
    assert not found["regression"]


def test_the_same_is_told_once(tmp_path):
    one = run(tmp_path, "one", **{f"a_{n}": result("pass") for n in range(9)})
    two = run(tmp_path, "two", **{f"a_{n}": result("fail", "0x2") for n in range(9)})
    done = vmxt("compare", one, two)
    assert "a.0 +8" in done.stdout and len(done.stdout.splitlines()) == 5


def test_no_results_there(tmp_path):
    done = vmxt("compare", str(tmp_path), str(tmp_path))
    assert done.returncode == 2 and "no results there" in done.stderr


def test_readme_lists_the_deviations():
    done = vmxt("deviations", "--check", os.path.join(ROOT, "README.md"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_deviations_of_a_target(tmp_path):
    folder = tmp_path / "expectations"
    folder.mkdir()
    text = '[[expect]]\nid = "{}"\noutcome = "fail"\nreason = "it | does not"\nsdm = "A > B"\n'
    (folder / "x.toml").write_text(text.format("a.b") + text.format("a.c"))
    (folder / "y.toml").write_text("")
    told = deviations.text(str(tmp_path))
    assert "| A > B | it \\| does not | `a.b`, `a.c` |" in told
    assert "**y**: none found so far." in told
