"""`vmxt run`: selects, runs, reports."""
import importlib.util
import json
import os
import shlex
import sys
import time
from types import SimpleNamespace

from . import expect, ui
from .cli import ROOT
from .engine import Engine
from .errors import BROKEN, FAILED, OK, Infrastructure
from .record import Record, now
from .suite import Suite, outcomes_in, relative
from .work import Task


def run(options):
    began = time.monotonic()
    for module in ("elftools", "junit_xml"):  # late imports: what misses is told before the run
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(name=module)
    suite = Suite(options, ROOT)
    ids = None
    if options.failed_from:
        bad = outcomes_in(options.failed_from).items()
        ids = {ident for ident, (_outcome, good) in bad if not good}
    cases = suite.select(options.expression, ids)
    target = suite.target()
    reason = target.unavailable()
    if reason:
        raise Infrastructure(f"the target {target.name} cannot run here: {reason}")
    expectations = expect.for_target(options.configs, target)
    out = options.out or suite.default_results(target)
    times = _Times(os.path.join(suite.build, "times.json"), target.variant)
    guard, tasks = _plan(suite, cases, options, times)

    record = Record(out, len(cases) * options.repeat)
    screen = ui.choose()
    again = repeat_command(options, target)
    screen.command_of = lambda result: f"{again} ={result.case.id}"
    jobs = options.jobs or os.cpu_count() or 1
    engine = Engine(
        target,
        expectations,
        record,
        screen,
        SimpleNamespace(
            jobs=jobs,
            isolate=options.isolate,
            case_timeout=options.timeout,
            max_time=options.max_time,
            fail_fast=options.fail_fast,
            strict=options.strict,
            arch=options.arch,
        ),
    )
    total = len(cases) * options.repeat
    count = len({case.kernel for case in cases})
    screen.start(
        f"vmxt: {total} cases of {count} kernels ({options.arch}) on {target.variant}"
        f" ({target.title}), {jobs} at a time",
        total,
    )
    record.event(
        "run",
        version=1,
        target=target.variant,
        title=target.title,
        cpu=target.cpu,
        arch=options.arch,
        started=now(),
        command=sys.argv,
        cases=total,
        kernels=count,
    )
    try:
        engine.run(guard, tasks)
    finally:
        screen.stop()
    if set(suite.cases) == {case.id for case in cases}:
        times.save(tasks, record)
    return _conclude(suite, options, target, expectations, record, engine, screen, began)


def _plan(suite, cases, options, times):
    """(guard, tasks): preflight first and alone, then the longest kernels first."""
    by_kernel = {}
    for case in cases:
        by_kernel.setdefault(case.kernel, []).append(case.index)
    first = None if options.no_preflight else suite.preflight
    guard = None
    if first:
        wanted = by_kernel.get(first.name, ())
        guard = Task(first, range(len(first.cases)), wanted=wanted)
    tasks = []
    for repeat in range(1, options.repeat + 1):
        round_of = [
            Task(kernel, sorted(by_kernel[kernel.name]), repeat)
            for kernel in suite.kernels
            if kernel.name in by_kernel and not (kernel is first and repeat == 1)
        ]
        tasks += sorted(round_of, key=lambda t: -times.of(t))
    return guard, tasks


class _Times:
    """How long each kernel took on a target, to start the long ones first."""

    def __init__(self, path, target):
        self.path, self.target, self.all = path, target, {}
        try:
            with open(path, encoding="utf-8") as stream:
                self.all = json.load(stream)
            self.own = dict(self.all.get(target, {}))
        except (OSError, ValueError, AttributeError, TypeError):
            self.all, self.own = {}, {}

    def of(self, task):
        known = self.own.get(task.kernel.name)
        if isinstance(known, (int, float)):
            return known
        return len(task.pending) / 1000

    def save(self, tasks, record):
        own = {}
        for result in record.results.values():
            name = result.case.kernel
            own[name] = own.get(name, 0.0) + result.seconds
        self.all[self.target] = {name: round(seconds, 3) for name, seconds in sorted(own.items())}
        try:
            with open(self.path, "w", encoding="utf-8") as stream:
                json.dump(self.all, stream)
        except OSError:
            pass


def repeat_command(options, target):
    """The command that runs again, without the case's id."""
    words = [relative(sys.argv[0]), "run", "--target", options.target or target.name]
    if options.cpu:
        words += ["--cpu", options.cpu]
    if options.linux:
        words += ["--linux", options.linux]
    if options.arch != "x86_64":
        words += ["--arch", options.arch]
    usual = os.path.join(ROOT, "build", options.arch)
    if options.build and os.path.abspath(options.build) != usual:
        words += ["--build", options.build]
    if options.kernels:
        words += ["--kernels", options.kernels]
    if options.timeout:
        words += ["--timeout", f"{options.timeout:g}"]
    return shlex.join(words)


def _conclude(suite, options, target, expectations, record, engine, screen, began):
    """Reports, summary, exit status."""
    trouble = list(engine.trouble)
    idle = expectations.unmatched(suite.cases) if not options.kernels else []
    bad = sum(not result.ok for result in record.results.values())
    flaky = _flaky(record) if options.repeat > 1 else []
    try:
        for entry in idle:
            record.note(f"{relative(entry.where)}: the expectation {entry.id!r} matches no case")
        for ident, outcomes in flaky:
            record.note(f"{ident} is not stable: {', '.join(outcomes)}")
    except Infrastructure as error:
        trouble.append(str(error))
    failed = bad or flaky or (options.strict and idle)
    status = BROKEN if trouble else FAILED if failed else OK
    seconds = time.monotonic() - began
    try:
        record.finish(status, seconds)
        properties = {"target": target.variant, "cpu": target.cpu, "arch": options.arch}
        properties.update((f"fingerprint.{k}", v) for k, v in record.fingerprint.items())
        from . import reports

        command_of = screen.command_of
        record.save("junit.xml", reports.junit(record, f"vmxt.{target.variant}", properties, command_of))
        record.save("results.ktap", reports.ktap(record, properties))
    except Infrastructure as error:
        trouble.append(str(error))
        status = BROKEN
    sentences = [f"{text}" for text in trouble]
    if engine.stop_reason and engine.stop_reason not in trouble:
        sentences.append(f"stopped: {engine.stop_reason}")
    screen.summary(record, sentences, time.monotonic() - began, relative(record.folder))
    return status


def _flaky(record):
    seen = {}
    for (ident, _repeat), result in record.results.items():
        seen.setdefault(ident, {})[result.outcome] = None
    return [(ident, list(outcomes)) for ident, outcomes in seen.items() if len(outcomes) > 1]
