"""What a person sees: progress on a terminal, few lines elsewhere, a summary."""
import os
import sys
import time

from .results import OUTCOMES, counts_of

STYLES = {
    "pass": "green",
    "fail": "bold red",
    "xfail": "yellow",
    "xpass": "bold red",
    "error": "bold magenta",
    "crash": "bold red",
    "timeout": "bold red",
    "skip": "cyan",
    "not-run": "bold yellow",
}
MANY_DETAILS = 40  # lines that a failure shows
MANY = 12  # ids that a summary lists
_CODES = {"green": "32", "bold red": "1;31", "yellow": "33", "bold magenta": "1;35"}
_CODES |= {"cyan": "36", "bold yellow": "1;33", "dim": "2", "bold": "1"}


def printable(text):
    """@text without anything that a terminal could obey."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class Plain:
    """Output that is no terminal: failures as they happen, and the summary."""

    colour = False

    def __init__(self, stream=None, quiet=False):
        self.stream = stream or sys.stdout
        self.quiet = quiet
        self.total = self.done = 0
        self.command_of = lambda result: ""

    def style(self, text, style):
        if not self.colour or not style:
            return text
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m"

    def print(self, text=""):
        try:
            print(text, file=self.stream, flush=True)
        except BrokenPipeError:  # whoever read has left; the run goes on
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())

    def start(self, headline, total):
        self.total = total
        self.print(headline)

    def boot(self, running):
        pass

    def case(self, running, case):
        pass

    def tick(self):
        pass

    def boot_end(self, running, kind):
        pass

    def result(self, result):
        self.done += 1
        if not result.ok and result.outcome != "not-run":  # these are told together at the end
            self.print(self.failure(result))

    def stop(self):
        pass

    def failure(self, result):
        """The whole story of one result that is not as expected."""
        case = result.case
        repeat = f" (repetition {result.repeat})" if result.repeat > 1 else ""
        label = self.style(f"{result.outcome.upper():<7}", STYLES[result.outcome])
        lines = [f"{label} {self.style(case.id, 'bold')}{repeat}  [{case.kernel}]"]
        facts = [("", case.title)]
        if result.reason and ("note", result.reason) not in result.details:
            facts.append(("why", result.reason))
        if result.outcome == "xpass":
            entry = result.expectation
            facts.append(("why", f"{entry.where} expects {entry.outcome}: {entry.reason}"))
        facts += result.details[:MANY_DETAILS]
        if len(result.details) > MANY_DETAILS:
            facts.append(("", f"and {len(result.details) - MANY_DETAILS} lines more"))
        facts.append(("sdm", case.sdm))
        if result.log:
            facts += [("log", line) for line in result.log.splitlines()]
        facts.append(("again", self.command_of(result)))
        for key, text in facts:
            lines.append(f"        {self.style(f'{key:<6}', 'dim')} {printable(text)}")
        return "\n".join(lines)

    def summary(self, record, outcome, seconds, reports):
        """@outcome: the sentences that say what came of the run."""
        results = list(record.results.values())
        counts = counts_of(results)
        kernels = {}
        for result in results:
            kernels.setdefault(result.case.kernel, []).append(result)
        shown = [o for o in OUTCOMES if counts[o]]
        if shown:
            self.print()
            self._table(kernels, shown, counts)
        self.print()
        self._not_run(results)
        for note in record.notes:
            self.print(f"note: {printable(note)}")
        listed = ", ".join(self.style(f"{counts[o]} {o}", STYLES[o]) for o in shown)
        self.print(f"{len(results)} cases: {listed or 'none'}; {seconds:.1f} s")
        for sentence in outcome:
            self.print("\n".join(map(printable, sentence.split("\n"))))
        self.print(f"reports: {reports}")

    def _not_run(self, results):
        reasons = {}
        for result in results:
            if result.outcome == "not-run":
                reasons.setdefault(result.reason, []).append(result.case.id)
        for reason, ids in reasons.items():
            label = self.style("NOT-RUN", STYLES["not-run"])
            self.print(f"{label} {len(ids)} cases: {printable(reason)}")
            for ident in ids[:MANY]:
                self.print(f"        {ident}")
            if len(ids) > MANY:
                self.print(f"        and {len(ids) - MANY} more (events.jsonl names them)")

    def _table(self, kernels, shown, counts):
        width = max(len(name) for name in kernels)
        columns = {o: max(len(o), len(str(counts[o]))) for o in shown}
        head = "  ".join(f"{o:>{columns[o]}}" for o in shown)
        self.print(self.style(f"{'kernel':<{width}}  {head}", "dim"))
        for name, results in sorted(kernels.items()):
            own = counts_of(results)
            cells = []
            for o in shown:
                cell = f"{own[o] or '.':>{columns[o]}}"
                cells.append(self.style(cell, STYLES[o] if own[o] else "dim"))
            self.print(f"{name:<{width}}  {'  '.join(cells)}")


class Terminal(Plain):
    """A terminal: one live line of progress by rich below the failures."""

    colour = True

    def __init__(self, stream=None, quiet=False):
        super().__init__(stream, quiet)
        self._progress = None
        self._task = None
        self._shown = 0.0
        self._busy = {}
        self._bad = 0

    def _begin(self):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeElapsedColumn

        self._console = Console(file=self.stream, highlight=False)
        self._progress = Progress(
            BarColumn(30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            auto_refresh=False,
        )
        self._task = self._progress.add_task("", total=self.total)
        self._progress.start()

    def tick(self):
        now = time.monotonic()
        if now - self._shown < 0.1:
            return
        self._shown = now
        if self._progress is None:
            self._begin()
        names = " ".join(case.id for _slot, case in sorted(self._busy.items()))
        text = f"{self._bad} bad  {names}" if self._bad else names
        room = max(10, self._console.width - 52)
        self._progress.update(self._task, completed=self.done, description=text[:room])
        self._progress.refresh()

    def case(self, running, case):
        self._busy[running.slot] = case

    def boot_end(self, running, kind):
        self._busy.pop(running.slot, None)

    def result(self, result):
        self._bad += not result.ok
        super().result(result)

    def print(self, text=""):
        if self._progress is None:
            super().print(text)
            return
        from rich.text import Text

        self._console.print(Text.from_ansi(text), soft_wrap=True)

    def stop(self):
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def choose(stream=None):
    stream = stream or sys.stdout
    dumb = os.environ.get("TERM", "dumb") == "dumb" or os.environ.get("NO_COLOR")
    return Plain(stream) if dumb or not stream.isatty() else Terminal(stream)
