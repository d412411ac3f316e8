"""The commands that start nothing: list, show, rules, targets."""
import json
import os
from fnmatch import fnmatchcase

from . import expect, registry, rules, targets
from .cli import ROOT
from .errors import FAILED, OK, Infrastructure, NothingSelected, UsageError
from .suite import PREFLIGHT, Suite, outcomes_in


def _json(data):
    print(json.dumps(data, indent=1))
    return OK


def _as_dict(case):
    return case._asdict()


def list_command(options):
    suite = Suite(options, ROOT)
    if options.check:
        return _check(suite, options)
    cases = suite.select(options.expression)
    if options.needs:
        counts = {}
        for case in cases:
            for need in case.needs or ["-"]:
                counts[need] = counts.get(need, 0) + 1
        return _table(options, "need", counts)
    if options.kernels_only:
        counts = {}
        for case in cases:
            counts[case.kernel] = counts.get(case.kernel, 0) + 1
        return _table(options, "kernel", counts)
    if options.json:
        return _json([_as_dict(case) for case in cases])
    width = max(len(case.id) for case in cases)
    for case in cases:
        print(f"{case.id:<{width}}  {case.title}")
    return OK


def _table(options, name, counts):
    if options.json:
        return _json([{name: key, "cases": value} for key, value in sorted(counts.items())])
    width = max(map(len, counts))
    for key, value in sorted(counts.items()):
        print(f"{key:<{width}}  {value:>5}")
    return OK


def _check(suite, options):
    """Everything that must be true of the suite's data; 1 with a line for each problem."""
    catalogue = rules.load(options.configs)
    problems = rules.check(
        catalogue, rules.left_out(options.configs, catalogue), suite.cases.values()
    )
    for case in suite.cases.values():
        where = f"{case.file}:{case.line}: {case.id}"
        if not registry.ID.fullmatch(case.id):
            problems.append(f"{where}: not an id ([a-z0-9._/-])")
        for field in ("title", "sdm"):
            if not getattr(case, field).strip():
                problems.append(f"{where}: the {field} is missing")
        if not case.rules and not case.kernel.endswith(f"/{PREFLIGHT}"):
            problems.append(f"{where}: names no rule")
    for name in targets.names(options.configs):
        target = targets.find(options.configs, name)
        expect.for_target(options.configs, target)
    for entry in expect.Expectations(expect.files(options.configs)).unmatched(suite.cases):
        problems.append(f"{entry.where}: {entry.id!r} matches no case")
    for problem in dict.fromkeys(problems):
        print(problem)
    if not problems:
        print(f"{len(suite.cases)} cases of {len(suite.kernels)} kernels: nothing to complain of")
    return FAILED if problems else OK


def show_command(options):
    suite = Suite(options, ROOT)
    case = suite.cases.get(options.id.lstrip("="))
    if case is None:
        raise NothingSelected(f"no case has the id {options.id}")
    catalogue = rules.load(options.configs)
    known = []
    for name in targets.names(options.configs):
        target = targets.find(options.configs, name)
        for entry in expect.for_target(options.configs, target).entries:
            if fnmatchcase(case.id, entry.id):
                known.append((name, entry))
    last = _last_of(suite, case.id)
    if options.json:
        return _json(
            {
                **_as_dict(case),
                "catalogue": [catalogue[r]._asdict() for r in case.rules if r in catalogue],
                "expectations": [{"target": name, **e.as_json()} for name, e in known],
                "last": last,
            }
        )
    print(f"{case.id}\n  {case.title}\n")
    facts = [("sdm", case.sdm), ("kernel", case.kernel), ("source", f"{case.file}:{case.line}")]
    facts.append(("needs", " ".join(case.needs) or "VMX"))
    for ident in case.rules:
        rule = catalogue.get(ident)
        facts.append(("rule", f"{ident}: {rule.rule}" if rule else f"{ident} (unknown)"))
        if rule:
            facts += [("", f"accept: {rule.accept}"), ("", f"reject: {rule.reject}")]
            facts.append(("", f"outcome: {rule.outcome}"))
            if rule.note:
                facts.append(("", f"note: {rule.note}"))
    for name, entry in known:
        facts.append(("known", f"{name} ends in {entry.outcome}: {entry.reason}"))
    if last:
        facts.append(("last", f"{last['outcome']} {last.get('reason', '')} on {last['target']}"))
        facts += [("", f"{key} {text}") for key, text in last.get("details", [])]
    facts.append(("run", f"runner/vmxt run ={case.id}"))
    for key, text in facts:
        print(f"  {key:<7} {text}")
    return OK


def _last_of(suite, ident):
    from .record import read_results

    try:
        events = read_results(suite.results_folder())
    except (Infrastructure, UsageError):
        return None
    return next((event for event in events if event.get("id") == ident), None)


def rules_command(options):
    catalogue = rules.load(options.configs)
    reasons = rules.left_out(options.configs, catalogue)
    suite = Suite(options, ROOT)
    outcomes = None
    folder = suite.results_folder()
    if options.results or os.path.exists(os.path.join(folder, "events.jsonl")):
        outcomes = outcomes_in(folder)
    found = rules.coverage(catalogue, reasons, suite.cases.values())
    if options.pattern:
        found = [
            item for item in found if any(fnmatchcase(item.rule.id, p) for p in options.pattern)
        ]
        if not found:
            raise NothingSelected("no rule is selected")
    if options.states or options.pattern:
        return _list_rules(found, options)
    table = rules.count(found, options.by, outcomes)
    if options.by == "book":
        table = dict(sorted(table.items(), key=lambda item: _book_key(item[0])))
    total = dict.fromkeys(rules.KEYS, 0)
    for row in rules.count(found, "catalogue", outcomes).values():
        for key in rules.KEYS:
            total[key] += row[key]
    if options.json:
        return _json({"by": options.by, "groups": table, "total": total, "results": folder})
    keys = rules.KEYS if outcomes is not None else rules.KEYS[:4]
    names = {name: name if len(name) <= 70 else "..." + name[-67:] for name in table}
    width = max(len("total"), len(options.by), *map(len, names.values()))
    print(f"{options.by:<{width}}  " + "  ".join(f"{key:>9}" for key in keys))
    for name, row in [*((names[n], r) for n, r in table.items()), ("total", total)]:
        print(f"{name:<{width}}  " + "  ".join(f"{row[key]:>9}" for key in keys))
    if outcomes is not None:
        print(f"passing, failing: by the results in {folder}")
    return OK


def _book_key(name):
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in name.split(".")]


def _list_rules(found, options):
    states = options.states or ["covered", "left-out", "uncovered"]
    chosen = [item for item in found if item.state in states]
    if options.json:
        return _json(
            [
                {**i.rule._asdict(), "state": i.state, "named_by": i.cases, "reason": i.reason}
                for i in chosen
            ]
        )
    width = max((len(item.rule.id) for item in chosen), default=0)
    for item in chosen:
        what = item.reason or (f"{len(item.cases)} cases" if item.cases else item.rule.rule)
        print(f"{item.rule.id:<{width}}  {item.state:<9}  {what}")
    return OK


def _kernels(target):
    """The kernels that @target can bring along, its usual one first."""
    if not target.linux:
        return []
    from . import packages

    known = packages.Catalogue().linux
    return [target.linux, *(version for version in known if version != target.linux)]


def targets_command(options):
    best = targets.default(options.configs).name
    if options.default:
        print(best)
        return OK
    rows = []
    for name in targets.names(options.configs):
        target = targets.find(options.configs, name)
        reason = target.unavailable()
        rows.append(
            {
                "name": name,
                "title": target.title,
                "kind": target.kind,
                "cpu": target.cpu,
                "models": list(target.options["models"]),
                "linux": _kernels(target),
                "available": reason is None,
                "reason": reason,
                "default": name == best,
            }
        )
    if options.json:
        return _json(rows)
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        mark = "*" if row["default"] else " "
        print(f"{mark} {row['name']:<{width}}  {row['title']}")
        for model in row["models"]:
            print(f"  {'':<{width}}    also --cpu {model}")
        for version in row["linux"][1:]:
            print(f"  {'':<{width}}    also --linux {version}")
        if row["reason"]:
            print(f"  {'':<{width}}    not here: {row['reason']}")
    return OK
