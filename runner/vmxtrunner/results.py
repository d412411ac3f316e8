"""Outcomes, and the result of one case."""
from dataclasses import dataclass, field

# In the order in which a summary names them.
OUTCOMES = (
    "pass",
    "fail",
    "xfail",
    "xpass",
    "error",
    "crash",
    "timeout",
    "skip",
    "not-run",
)

# What leaves the exit status 0.
AS_EXPECTED = {"pass", "skip", "xfail"}

# What an expectation may announce.
EXPECTABLE = ("fail", "skip", "error", "crash", "timeout")


@dataclass(slots=True)
class Result:
    case: object  # registry.Case
    outcome: str  # one of OUTCOMES
    raw: str  # the outcome before the expectations were asked
    reason: str = ""  # of everything but a pass
    details: list = field(default_factory=list)  # (key, text) as the kernel sent them
    seconds: float = 0.0
    boot: int = 0  # number of the boot, 0: none
    repeat: int = 1
    expectation: object = None  # the expect.Entry that was applied
    ok: bool = False
    log: str = ""  # end of the target's log, where it tells something

    @property
    def findings(self):
        """The details in groups, a new one at each `at`."""
        groups = []
        for key, text in self.details:
            if key == "at" or not groups:
                groups.append([])
            groups[-1].append((key, text))
        return groups

    def headline(self):
        """One line that says why: the reason, or the first finding."""
        if self.reason:
            return self.reason
        first = {}
        for key, text in self.details:
            first.setdefault(key, text)
        if "want" in first or "got" in first:
            what = first.get("what", "")
            return f"{what}: want {first.get('want', '?')}, got {first.get('got', '?')}".lstrip(": ")
        return first.get("what") or first.get("note") or ""


def counts_of(results):
    counts = dict.fromkeys(OUTCOMES, 0)
    for result in results:
        counts[result.outcome] += 1
    return counts
