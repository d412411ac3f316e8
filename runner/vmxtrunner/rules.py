"""The catalogue of architectural rules (configs/rules), and what covers it."""
import csv
import os
from collections import namedtuple

from .config import Document
from .errors import UsageError

CATALOGUES = (
    "instructions",
    "entry-controls-host",
    "entry-guest",
    "exits",
    "ept",
    "apic",
)
COLUMNS = "id section edition applies_if rule accept reject outcome cases book note".split()
EDITIONS = ("both", "current", "2018", "new")

Rule = namedtuple("Rule", [*COLUMNS, "catalogue", "line"])

# What is known of one rule: covered / left-out / uncovered, and its cases.
Coverage = namedtuple("Coverage", "rule state cases reason")


def _folder(configs):
    return os.path.join(configs, "rules")


def load(configs):
    """{id: Rule} of all catalogues."""
    rules = {}
    for catalogue in CATALOGUES:
        path = os.path.join(_folder(configs), f"{catalogue}.tsv")
        try:
            with open(path, encoding="utf-8", newline="") as stream:
                rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
                if next(rows, None) != COLUMNS:
                    raise UsageError(f"{path}:1: the columns must be {' '.join(COLUMNS)}")
                for line, row in enumerate(rows, 2):
                    if len(row) != len(COLUMNS):
                        message = f"{len(row)} columns, not {len(COLUMNS)}"
                        raise UsageError(f"{path}:{line}: {message}")
                    rule = Rule(*row, catalogue, line)
                    if rule.id in rules:
                        raise UsageError(f"{path}:{line}: the rule {rule.id} is there twice")
                    if rule.edition not in EDITIONS:
                        raise UsageError(f"{path}:{line}: unknown edition {rule.edition!r}")
                    rules[rule.id] = rule
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return rules


def left_out(configs, rules):
    """{rule id: reason} of the rules that no case is going to cover."""
    path = os.path.join(_folder(configs), "left-out.toml")
    if not os.path.exists(path):
        return {}
    document = Document(path)
    for ident, reason in document.data.items():
        if ident not in rules:
            raise document.error(f"no rule {ident!r} in the catalogue", "", ident)
        if not isinstance(reason, str) or not reason.strip():
            raise document.error(f"{ident!r} needs a reason", "", ident)
    return document.data


def cases_of(cases):
    """{rule id: [case ids]}."""
    found = {}
    for case in cases:
        for ident in case.rules:
            found.setdefault(ident, []).append(case.id)
    return found


def coverage(rules, reasons, cases):
    """The Coverage of each rule."""
    named = cases_of(cases)
    result = []
    for ident, rule in rules.items():
        ids = named.get(ident, [])
        state = "covered" if ids else "left-out" if ident in reasons else "uncovered"
        result.append(Coverage(rule, state, ids, reasons.get(ident, "")))
    return result


def groups_of(rule, by):
    """The names under which @rule is counted."""
    if by == "catalogue":
        return [rule.catalogue]
    if by == "edition":
        return [rule.edition]
    if by == "section":
        return [rule.section]
    books = [part.strip() for part in rule.book.replace(";", ",").split(",")]
    return [part for part in books if part] or ["-"]


def count(found, by, outcomes=None):
    """{group: {rules, covered, left-out, uncovered, passing, failing}}, in file order.

    @outcomes: {case id: (outcome, ok)} of a run, or None.
    """
    table = {}
    for item in found:
        for group in groups_of(item.rule, by):
            row = table.setdefault(group, dict.fromkeys(KEYS, 0))
            row["rules"] += 1
            row[item.state] += 1
            if outcomes is None or not item.cases:
                continue
            seen = [outcomes[i] for i in item.cases if i in outcomes]
            if any(outcome == "pass" for outcome, _ok in seen):
                row["passing"] += 1
            if any(outcome not in ("pass", "skip", "not-run") for outcome, _ok in seen):
                row["failing"] += 1
    return table


KEYS = ("rules", "covered", "left-out", "uncovered", "passing", "failing")


def check(rules, reasons, cases):
    """What is wrong between the cases and the catalogue, one line each."""
    problems = []
    for case in cases:
        for ident in case.rules:
            if ident not in rules:
                problems.append(f"{case.file}:{case.line}: {case.id} names the unknown rule {ident}")
            elif ident in reasons:
                problems.append(
                    f"{case.file}:{case.line}: {case.id} covers {ident}, which left-out.toml leaves out"
                )
    return problems
