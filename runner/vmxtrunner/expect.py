"""What a target is known to do otherwise (configs/expectations/TARGET.toml).

    [[expect]]
    id = "vmx.entry.*"            # which cases
    outcome = "fail"              # what they end as on this target
    reason = "..."                # why, in one sentence
    sdm = "Chapter > Section"     # the rule that the target breaks
    evidence = "..."              # the log line or source place that shows it
    link = "https://..."          # a report of it, if there is one
    when = { cpu = "tigerlake" }  # only then: items of the fingerprint
"""
import bisect
import glob
import os
import re
from fnmatch import fnmatchcase, translate

from .config import Document
from .results import AS_EXPECTED, EXPECTABLE

ENTRY = {
    "id": (str, ...),
    "outcome": (EXPECTABLE, ...),
    "reason": (str, ...),
    "sdm": (str, ""),
    "evidence": (str, ""),
    "link": (str, ""),
    "when": (dict, None),
}


class Entry:
    def __init__(self, document, number, data):
        values = document.check(data, ENTRY, "expect", number)
        self.where = f"{document.path}:{document.line_of('expect', None, number)}"
        self.id = values["id"]
        self.prefix = re.match(r"[^*?[]*", self.id).group()
        self.matches = re.compile(translate(self.id)).match
        self.outcome = values["outcome"]
        self.reason = values["reason"]
        self.sdm, self.evidence, self.link = values["sdm"], values["evidence"], values["link"]
        self.when = values["when"] or {}
        for key, wanted in self.when.items():
            if not isinstance(wanted, (str, int)) or isinstance(wanted, bool):
                message = f"the condition {key!r} must be a string or a number"
                raise document.error(message, "expect", "when", number)
        if not self.reason:
            raise document.error("'reason' must not be empty", "expect", "reason", number)
        if self.outcome != "skip" and not self.sdm:
            raise document.error("the key 'sdm' is missing", "expect", None, number)

    def holds(self, facts):
        return all(_fits(wanted, facts.get(key)) for key, wanted in self.when.items())

    def as_json(self):
        keys = ("id", "outcome", "reason", "sdm", "evidence", "link")
        return {key: getattr(self, key) for key in keys if getattr(self, key)}


def _fits(wanted, value):
    """Whether a fingerprint's text (hexadecimal numbers) fits: a number or a glob."""
    if value is None:
        return False
    if isinstance(wanted, int):
        try:
            return int(value, 16) == wanted
        except ValueError:
            return False
    return fnmatchcase(value, wanted)


class Expectations:
    def __init__(self, paths=()):
        self.entries = []
        for path in paths:
            document = Document(path)
            data = document.check(document.data, {"expect": (list, ())}, "")
            for number, entry in enumerate(data["expect"]):
                if not isinstance(entry, dict):
                    raise document.error("'expect' must be an array of tables", "expect")
                self.entries.append(Entry(document, number, entry))
        # Most cases are of no entry's family: one comparison tells.
        self._prefixes = tuple({entry.prefix for entry in self.entries})

    def unmatched(self, ids):
        """The entries that name none of the suite's cases."""
        ids = sorted(ids)

        def named(entry):
            first = bisect.bisect_left(ids, entry.prefix)
            behind = bisect.bisect_left(ids, entry.prefix + chr(0x7F))
            return any(entry.matches(ident) for ident in ids[first:behind])

        return [entry for entry in self.entries if not named(entry)]

    def find(self, ident, facts):
        if not ident.startswith(self._prefixes):
            return None
        for entry in self.entries:
            if ident.startswith(entry.prefix) and entry.matches(ident) and entry.holds(facts):
                return entry
        return None

    def judge(self, ident, raw, facts):
        """(outcome, entry): what @raw is in the light of the expectations."""
        entry = self.find(ident, facts)
        if not entry or raw == "not-run":
            return raw, None
        if raw == entry.outcome:
            return ("skip" if raw == "skip" else "xfail"), entry
        if raw == "pass":
            return "xpass", entry
        return raw, None


def is_ok(outcome, entry, strict):
    """Whether @outcome lets the run succeed. Strict: a skip must be expected."""
    if strict and outcome == "skip":
        return entry is not None
    return outcome in AS_EXPECTED


def files(configs):
    """The paths of all files of expectations, sorted."""
    return sorted(glob.glob(os.path.join(glob.escape(configs), "expectations", "*.toml")))


def for_target(configs, target):
    """The expectations of @target: its own file, or those that it names."""
    folder = os.path.join(configs, "expectations")
    if target.expectations is not None:
        paths = [os.path.join(folder, name) for name in target.expectations]
        of_version = [path.replace("{version}", target.version) for path in paths]
        # Of a version that nobody has looked at nothing is known.
        return Expectations(p for p, q in zip(of_version, paths) if p == q or os.path.exists(p))
    own = os.path.join(folder, f"{target.name}.toml")
    return Expectations([own] if os.path.exists(own) else [])
