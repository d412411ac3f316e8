"""Target files, expectations and the rule catalogue are read strictly."""
import glob
import os
from types import SimpleNamespace

import pytest

from vmxtrunner import expect, machines, rules, targets
from vmxtrunner.errors import UsageError

from conftest import ROOT

CONFIGS = os.path.join(ROOT, "configs")
GOOD = 'title = "x"\nkind = "command"\n\n[command]\ncommand = ["true"]\n\n[limits]\ncase = 1.5\n'


def target(tmp_path, text):
    path = tmp_path / "some.toml"
    path.write_text(text)
    return targets.Target(str(path))


def test_good_target(tmp_path):
    assert target(tmp_path, GOOD).limits["case"] == 1.5


@pytest.mark.parametrize("chain", [0, 17, -1])
def test_wrong_chain(tmp_path, chain):
    text = f'title = "x"\nkind = "bochs"\n\n[bochs]\ncpu = "y"\nchain = {chain}\n'
    with pytest.raises(UsageError, match="some.toml:6: 'chain' must be 1 to 16"):
        target(tmp_path, text)
    assert target(tmp_path, text.replace(str(chain), "16")).options["chain"] == 16


@pytest.mark.parametrize(
    "old, new, line, words",
    [
        ("case = 1.5", "cases = 1", 8, "unknown key 'cases'"),
        ("case = 1.5", 'case = "1"', 8, "must be a number"),
        ("case = 1.5", "case = true", 8, "must be a number"),
        ("case = 1.5", "case = -1", 8, "above 0"),
        ('kind = "command"', 'kind = "comand"', 2, "one of 'bochs'"),
        ('title = "x"\n', "", 0, "'title' is missing"),
        ('title = "x"', "title = x", 1, "line 1"),
        ('command = ["true"]', "command = [1]", 5, "a list, each item a string"),
        ('command = ["true"]', "", 4, "'command' is missing"),
        ("[limits]", "[qemu]\n[limits]", 7, "has no [qemu]"),
        ("[limits]", "[limit]", 7, "unknown key 'limit'"),
    ],
)
def test_wrong_target_names_file_and_line(tmp_path, old, new, line, words):
    with pytest.raises(UsageError) as caught:
        target(tmp_path, GOOD.replace(old, new))
    text = str(caught.value)
    assert words in text
    assert text.startswith(f"{tmp_path}/some.toml:" + (f"{line}:" if line else ""))


def test_own_files_are_right():
    for name in targets.names(CONFIGS):
        chosen = targets.find(CONFIGS, name)
        expect.for_target(CONFIGS, chosen)
    for path in glob.glob(os.path.join(CONFIGS, "expectations", "*.toml")):
        expect.Expectations([path])


@pytest.mark.parametrize(
    "text, line, words",
    [
        ('[[expect]]\nid = "a"\noutcome = "pass"\nreason = "x"\n', 3, "one of 'fail'"),
        ('[[expect]]\nid = "a"\noutcome = "fail"\n', 1, "'reason' is missing"),
        ('[[expect]]\nid = "a"\noutcome = "fail"\nreason = "x"\n', 1, "'sdm' is missing"),
        (
            '[[expect]]\nid = "a"\noutcome = "skip"\nreason = "x"\n\n'
            '[[expect]]\nid = "a"\noutcome = "skip"\nreason = "x"\nwhy = "x"\n',
            10,
            "unknown key 'why'",
        ),
        ('[[expected]]\nid = "a"\n', 1, "unknown key 'expected'"),
        ('[[expect]]\nid = "a"\noutcome = "skip"\nreason = "x"\nwhen = { a = [1] }\n', 5, "condition"),
    ],
)
def test_wrong_expectation_names_file_and_line(tmp_path, text, line, words):
    path = tmp_path / "known.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        expect.Expectations([str(path)])
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}:")


def test_conditions(tmp_path):
    path = tmp_path / "known.toml"
    path.write_text(
        '[[expect]]\nid = "a.*"\noutcome = "fail"\nreason = "x"\nsdm = "S"\n'
        'when = { basic = 0xda0400, cpu = "tiger*" }\n'
    )
    known = expect.Expectations([str(path)])
    facts = {"basic": "da0400", "cpu": "tigerlake"}
    assert known.judge("a.b", "fail", facts)[0] == "xfail"
    assert known.judge("a.b", "pass", facts)[0] == "xpass"
    assert known.judge("a.b", "crash", facts)[0] == "crash"
    assert known.judge("a.b", "skip", facts)[0] == "skip"
    assert known.judge("b", "fail", facts)[0] == "fail"
    assert known.judge("a.b", "fail", {**facts, "cpu": "other"})[0] == "fail"
    assert known.judge("a.b", "fail", {"cpu": "tigerlake"})[0] == "fail"
    assert known.unmatched(["b"]) == known.entries


def test_catalogue():
    catalogue = rules.load(CONFIGS)
    assert len(catalogue) > 4000
    for rule in catalogue.values():
        assert rule.section and rule.rule and rule.outcome, rule.id
    reasons = rules.left_out(CONFIGS, catalogue)
    found = rules.coverage(catalogue, reasons, [])
    for by in ("catalogue", "edition", "section", "book"):
        table = rules.count(found, by)
        assert sum(row["uncovered"] for row in table.values()) >= len(catalogue) - len(reasons)


def test_left_out_is_checked(tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    row = ["R", "S", "both", "", "r", "", "", "o", "1", "1.2", ""]
    for name in rules.CATALOGUES:
        lines = ["\t".join(rules.COLUMNS)]
        if name == "ept":
            lines.append("\t".join(row))
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    catalogue = rules.load(str(tmp_path))
    assert list(catalogue) == ["R"]
    for text, words in (('X = "no"', ":1: no rule 'X'"), ("R = 1", "needs a reason")):
        (folder / "left-out.toml").write_text(text)
        with pytest.raises(UsageError, match=words):
            rules.left_out(str(tmp_path), catalogue)
    (folder / "ept.tsv").write_text("\t".join(rules.COLUMNS) + "\nR\tS\n")
    with pytest.raises(UsageError, match=":2: 2 columns"):
        rules.load(str(tmp_path))


def test_bochs_files(image, tmp_path, monkeypatch):
    """What is written for Bochs: the files, and nothing outside the private folder."""
    from vmxtrunner import registry

    (kernel,) = registry.load([str(image)])
    bochs = targets.find(CONFIGS, "bochs", "tigerlake")
    rom = machines.patched_rom(kernel, "cases=1,3 cpus=2 out=uart")
    launch = machines._bochs(bochs, rom, 2, str(tmp_path))
    text = (tmp_path / "bochsrc").read_text()
    assert "address=0xffff0000" in text and "model=tigerlake, count=2" in text
    assert (tmp_path / "continue").read_text() == "c\n"
    rom = (tmp_path / "kernel.rom").read_bytes()
    assert rom[16:64].split(b"\0")[0] == b"cases=1,3 cpus=2 out=uart"
    assert len(rom) == 65536 and (image / "suite.rom").read_bytes()[16:32] == bytes(16)
    assert launch.argv[0] == "bochs"
    monkeypatch.setenv("BOCHS", "/opt/other/bochs")
    assert bochs.binary == "/opt/other/bochs"


def test_stack_of_roms(image, tmp_path, monkeypatch):
    from vmxtrunner import registry

    (kernel,) = registry.load([str(image)])
    launcher = machines.Launcher(targets.find(CONFIGS, "bochs"))
    monkeypatch.setattr(machines, "Chain", lambda launch, size: SimpleNamespace(links=[launch] * size))
    links = launcher.start_chain([(kernel, [0]), (kernel, [1, 2])], str(tmp_path))
    assert len(links) == 2
    stack = (tmp_path / "kernel.rom").read_bytes()
    assert len(stack) > 0x40000 and not any(stack[: -2 * 65536])
    second, first = stack[-2 * 65536 : -65536], stack[-65536:]
    assert first[16:4095].rstrip(b"\0") == b"cases=0 cpus=1 out=uart end=reset" and first[4095] == 2
    assert second[16:4095].rstrip(b"\0") == b"cases=1-2 cpus=1 out=uart"
    text = (tmp_path / "bochsrc").read_text()
    assert f"address={2**32 - len(stack):#x}" in text and "reset_on_triple_fault=1" in text


def test_processors(image):
    from vmxtrunner import registry

    (kernel,) = registry.load([str(image)])
    assert machines.processors_for(kernel.cases, 4) == 2
    assert machines.processors_for(kernel.cases, 1) == 1
    assert machines.processors_for(kernel.cases[:2], 4) == 1
