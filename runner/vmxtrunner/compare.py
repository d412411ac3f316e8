"""vmxt compare: which cases differ between runs, and what each of them saw.

The first folder is what the others are measured by: where it passed (or ended as
expected) and a later one did worse, that is a regression.
"""
import json
import os
import sys

from . import record
from .errors import FAILED, OK, UsageError

# From good to bad: a step to the right is a regression.
ORDER = ("pass", "xfail", "skip", "xpass", "fail", "error", "timeout", "crash", "not-run", "absent")
ABSENT = {"outcome": "absent"}
WIDTH = 34  # of a cell that says what was seen
ID_WIDTH = 44


def _read(folder):
    """(title, {id: result}) of one results folder."""
    if not os.path.isfile(os.path.join(folder, "events.jsonl")):
        raise UsageError(f"{folder}: no results there (events.jsonl)")
    results, target = {}, ""
    for result in record.read_results(folder):
        ident = result.get("id")
        # Of several repetitions the worst one counts.
        if ident not in results or _rank(result) > _rank(results[ident]):
            results[ident] = result
        target = target or result.get("target", "")
    return target, results


def _rank(result):
    """How bad a result is: what an expectation covers is as good as a pass."""
    outcome = result.get("outcome")
    if outcome not in ORDER:
        return len(ORDER)
    return 0 if outcome in ("pass", "xfail", "skip") else ORDER.index(outcome)


def got(result):
    """What was seen in the case, short: the value that was wrong, or the reason."""
    first = {}
    for key, text in result.get("details", ()):
        first.setdefault(key, text)
    return first.get("got") or result.get("reason") or ""


def _word(result):
    """What is compared: the outcome before expectations, and what was wrong."""
    raw = result.get("raw") or result.get("outcome")
    return (raw, got(result) if raw == "fail" else "")


def differences(runs):
    """[{id, sdm, results, regression}] of the cases whose results are not all alike.

    @runs: [{id: result}]. A case that a run did not plan at all differs too; one
    that passes here and lacks a need there does not.
    """
    found = []
    for ident in sorted({ident for results in runs for ident in results}):
        row = [results.get(ident, ABSENT) for results in runs]
        regression = any(_rank(later) > _rank(row[0]) and row[0] is not ABSENT for later in row[1:])
        if not regression and len({_word(result) for result in row if result["outcome"] != "skip"}) < 2:
            continue
        told = next(result for result in row if result is not ABSENT)
        found.append({"id": ident, "sdm": told.get("sdm", ""), "results": row, "regression": regression})
    return found


def _labels(folders, targets):
    """A short name of each run: its target, or its folder where targets repeat."""
    if all(targets) and len(set(targets)) == len(targets):
        return targets
    return [os.path.basename(os.path.normpath(folder)) or folder for folder in folders]


def _seen(result, wanted):
    """What a run saw in a case: where it passed, that is what another was to see."""
    outcome = result["outcome"]
    if outcome == "pass":
        return wanted
    return "" if outcome == "absent" else got(result)


def _wanted(row):
    """What the case expects, from a run in which it failed."""
    for result in row["results"]:
        for key, text in result.get("details", ()):
            if key == "want":
                return text
    return ""


def _cut(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"


def _cells(row):
    """What each run saw, cut so that the difference stays in sight."""
    seen = [_seen(result, _wanted(row)) for result in row["results"]]
    told = [text for text in seen if text]
    common = os.path.commonprefix(told) if len(told) > 1 else ""
    skip = len(common) - 6 if len(common) > 12 and max(map(len, told)) > WIDTH - 8 else 0
    for result, text in zip(row["results"], seen):
        text = f"…{text[skip:]}" if skip and text else text
        yield _cut(f"{result['outcome']}: {text}" if text else result["outcome"], WIDTH)


def _lines(rows):
    """[(mark, id, cells)] of a section; rows that tell the same are one line."""
    groups = {}
    for row in rows:
        cells = tuple(_cells(row))
        groups.setdefault((row["regression"], cells), []).append(row["id"])
    lines = []
    for (regression, cells), ids in groups.items():
        more = f" +{len(ids) - 1}" if len(ids) > 1 else ""
        lines.append(("!" if regression else " ", _cut(ids[0], ID_WIDTH - len(more)) + more, cells))
    return lines


def table(found, labels, out):
    sections = {}
    for row in found:
        sections.setdefault(row["sdm"] or "(no section)", []).append(row)
    for section in sorted(sections):
        print(section, file=out)
        lines = _lines(sections[section])
        first = max(len(name) for _mark, name, _cells in lines)
        widths = [max(map(len, column)) for column in zip(labels, *(cells for _m, _n, cells in lines))]
        for mark, name, cells in [(" ", "", labels), *lines]:
            text = "  ".join(f"{cell:<{size}}" for cell, size in zip(cells, widths))
            print(f"  {mark} {name:<{first}}  {text}".rstrip(), file=out)
        print(file=out)


def _json_row(row, labels):
    results = []
    for label, result in zip(labels, row["results"]):
        entry = {"run": label, "outcome": result["outcome"]}
        entry.update({key: result[key] for key in ("raw", "reason") if key in result})
        if got(result):
            entry["got"] = got(result)
        results.append(entry)
    return {"id": row["id"], "sdm": row["sdm"], "regression": row["regression"], "results": results}


def compare_command(options):
    if len(options.folder) < 2:
        raise UsageError("compare needs two results folders at least")
    read = [_read(folder) for folder in options.folder]
    labels = _labels(options.folder, [target for target, _results in read])
    found = differences([results for _target, results in read])
    worse = sum(row["regression"] for row in found)
    cases = len({ident for _target, results in read for ident in results})
    if options.json:
        rows = [_json_row(row, labels) for row in found]
        summary = {"cases": cases, "runs": labels, "regressions": worse, "differences": rows}
        json.dump(summary, sys.stdout, indent=1)
        print()
    else:
        table(found, labels, sys.stdout)
        print(f"{cases} cases: {len(found)} differ, {worse} of them worse than in {labels[0]} (!)")
    return FAILED if worse else OK
