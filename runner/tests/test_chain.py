"""Several kernels in one process, good ones and bad ones, on the real Bochs."""
import json
import os

import pytest

from conftest import BUILD, ROOT
from test_kernels import BAD
from vmxtrunner import registry

TESTS = os.path.join(BUILD, "x86_64", "vmx_tests")


@pytest.fixture
def folder(fixtures, tmp_path):
    """A function that makes a folder of real kernels and these fixtures, to run in this order.

    None stands for a real kernel; more of them follow.
    """
    if not os.path.isdir(TESTS):
        pytest.skip("the suite is not built")
    real = registry.load([TESTS], None)
    real = [k for k in real if k.stem != "preflight" and "cpus-" not in str([c.needs for c in k.cases])]
    real = sorted(real, key=lambda kernel: len(kernel.cases))[:9]

    def make(*names):
        made = tmp_path / "some_tests"
        made.mkdir()
        some = [os.path.splitext(kernel.elf)[0] for kernel in real]
        paths = [f"{fixtures}/{name}" if name else some.pop() for name in names] + some
        for path in paths:
            for ending in (".elf", ".rom"):
                (made / os.path.basename(path + ending)).symlink_to(os.path.abspath(path + ending))
        # The runner starts what takes long first.
        times = {f"some_tests/{os.path.basename(path)}": 99 - n for n, path in enumerate(paths)}
        (tmp_path / "times.json").write_text(json.dumps({"bochs": times}))
        return ["-j", "1", "--build", str(tmp_path)], str(made)

    return make


def chained(run, kernel):
    """The boots of the kernel in a process that had run another one."""
    return [e for e in run.events if e["event"] == "boot" and e["kernel"].endswith(kernel) and "chain" in e]


def others_are_good(run):
    results = [e for e in run.events if e["event"] == "result" and not e["id"].startswith("fixture.")]
    assert len(results) > 10 and all(e["ok"] for e in results)


@pytest.mark.parametrize("kernel", BAD)
def test_bad_kernel_among_good_ones(bochs, folder, kernel):
    words, kernels = folder(None, kernel, None, None)
    words += ["--timeout", "1"] if kernel in ("hang", "endless") else []
    run = bochs(*words, kernels=kernels)
    assert run.status == 1, run.text + run.errors
    others_are_good(run)
    assert any(e["boot"] == 2 for e in chained(run, kernel))
    found = {e["id"]: e["outcome"] for e in run.events if e["event"] == "result" and "fixture." in e["id"]}
    found = {ident.removeprefix("fixture."): o for ident, o in found.items() if o != "pass"}
    if kernel == "endless":
        found = {ident: "error" if o == "timeout" else o for ident, o in found.items()}
    assert found == BAD[kernel]
    numbers = [e["boot"] for e in run.events if e["event"] == "boot"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert sorted(e["boot"] for e in run.events if e["event"] == "boot-end") == numbers


@pytest.mark.parametrize("before", [(), (None,)])
@pytest.mark.parametrize(
    "case, outcome", [("hello", "error"), ("end", "error"), ("reset", "error"), ("early", "crash")]
)
def test_nobody_speaks_for_the_next_kernel(bochs, folder, before, case, outcome):
    words, kernels = folder(*before, "forge_next", "outcomes")
    run = bochs(f"not id:fixture.* or kernel:outcomes or =fixture.forge-next.{case}", *words, kernels=kernels)
    assert run.status == 1, run.text + run.errors
    others_are_good(run)
    boots = [e["kernel"] for e in run.events if e["event"] == "boot"]
    assert boots[len(before)] == "some_tests/forge_next"
    found = {i: o for i, o in run.outcomes.items() if i.startswith(("forge-next.", "outcomes."))}
    assert found == {
        f"forge-next.{case}": outcome,
        "outcomes.pass": "pass",
        "outcomes.fail": "fail",
        "outcomes.skip": "skip",
        "outcomes.error": "error",
        "outcomes.nothing": "error",
    }


def test_the_log_of_a_bad_kernel_is_its_own(bochs, folder):
    words, kernels = folder(None, "triple_fault")
    run = bochs(*words, kernels=kernels)
    boots = {e["boot"] for e in chained(run, "triple_fault")}
    (end,) = [e for e in run.events if e["event"] == "boot-end" and e["end"] == "crash" and e["boot"] in boots]
    log = (run.out / next(path for path in end["logs"] if path.endswith("target.log"))).read_text()
    assert log.count("exception with no resolution") == 1 and run.outcomes["triple-fault.bad"] == "crash"


def test_one_by_one(bochs, folder):
    words, kernels = folder(None, "outcomes")
    run = bochs("--isolate", *words, kernels=kernels)
    assert run.status == 1 and not chained(run, "")
    target = os.path.join(os.path.dirname(kernels), "single.toml")
    with open(os.path.join(ROOT, "configs", "targets", "bochs.toml"), encoding="utf-8") as source:
        text = source.read()
    with open(target, "w", encoding="utf-8") as copy:
        copy.write("".join(line for line in text.splitlines(True) if not line.startswith(("chain", "expect"))))
    run = bochs(*words, kernels=kernels, target=target)
    assert run.outcomes["outcomes.pass"] == "pass" and not chained(run, "")


def test_stopped_inside(bochs, folder):
    words, kernels = folder(None, "outcomes", "stop", "triple_fault")
    run = bochs("--fail-fast", *words, kernels=kernels)
    assert run.status == 1 and "not-run" in run.outcomes.values()
    assert len(run.outcomes) == len({e["id"] for e in run.events if e["event"] == "result"})
    run = bochs("--max-time", "0.1", *words, kernels=kernels)
    assert "time limit" in run.text and "not-run" in run.outcomes.values()


def test_repeat(bochs, folder):
    words, kernels = folder()
    run = bochs("--repeat", "2", *words, kernels=kernels)
    assert run.status == 0, run.text
    results = [(e["id"], e.get("repeat", 1)) for e in run.events if e["event"] == "result"]
    assert len(results) == len(set(results)) == 2 * len(run.outcomes)
