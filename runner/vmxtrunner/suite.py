"""The suite as built here: kernels, cases, selection, and where results are."""
import os

from . import record, registry, selection, targets
from .errors import Infrastructure, NothingSelected, UsageError
from .results import AS_EXPECTED

PREFLIGHT = "preflight"


class Suite:
    def __init__(self, options, root):
        self.root = root
        self.options = options
        self.build = options.build or os.path.join(root, "build", options.arch)
        if options.kernels:
            if not os.path.isdir(options.kernels):
                raise Infrastructure(f"{options.kernels}: no such folder")
            folders = [os.path.abspath(options.kernels)]
            cache = None
        else:
            folders = registry.find_folders(self.build)
            cache = os.path.join(self.build, "registry.json")
        self.kernels = registry.load(folders, cache)
        if not self.kernels:
            raise Infrastructure(f"{' '.join(folders)}: no kernels there")
        self.cases = registry.by_id(self.kernels)

    @property
    def preflight(self):
        return next((k for k in self.kernels if k.stem == PREFLIGHT), None)

    def select(self, words, ids=None):
        """The selected cases, in the suite's order. @ids: only these, where not None."""
        context = selection.Context(self.cases, self._last)
        test = selection.compile_expression(words, context)
        chosen = [case for case in self.cases.values() if test(case)]
        if ids is not None:
            chosen = [case for case in chosen if case.id in ids]
        if not chosen:
            raise NothingSelected("no case is selected" + _hint(words, self.cases))
        if context.unknown:
            raise UsageError(f"no case has the id {', '.join(context.unknown[:5])}")
        return chosen

    def _last(self):
        return outcomes_in(self.results_folder())

    def target(self):
        options = self.options
        if options.target:
            return targets.find(options.configs, options.target, options.cpu, options.linux)
        return targets.default(options.configs, options.cpu)

    def results_folder(self):
        if self.options.results:
            return self.options.results
        return self.default_results(self.target())

    def default_results(self, target):
        name = target.variant
        if self.options.arch != "x86_64":
            name += f"-{self.options.arch}"
        return os.path.join(self.root, "build", "results", name)


def _hint(words, cases):
    import difflib

    plain = [w.lstrip("=") for w in words]
    close = [m for w in plain for m in difflib.get_close_matches(w, cases, 2, 0.8)]
    return f" (is it {' or '.join(close)}?)" if close else ""


def outcomes_in(folder):
    """{id: (outcome, as expected)} of the run whose reports are in @folder."""
    found = {}
    for event in record.read_results(folder):
        ident, outcome = event.get("id"), event.get("outcome")
        good = bool(event.get("ok", outcome in AS_EXPECTED))
        if ident not in found or not good:  # of repetitions, the bad one counts
            found[ident] = (outcome, good)
    return found


def relative(path):
    """@path as a person here would write it."""
    short = os.path.relpath(path)
    return path if short.startswith("..") else short
