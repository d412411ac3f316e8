"""Runs the selected cases: boots, watches, boots again after a bad end, tells everything.

One thread. Each slot (of -j) has one boot at a time; a Task is the work that one
kernel still has. A boot that ends badly costs one case: the one that was running,
or the last one whose result nothing confirmed, or the first that never began.
"""
import itertools
import os
import selectors
import shutil
import time

from . import expect, machines, wire
from .errors import Infrastructure
from .results import Result
from .scratch import Scratch
from .signals import Signals
from .work import Follower, Running, excerpt_of

POLL = 0.005  # seconds between two looks at the outputs
MAX_SILENT = 2  # boots of a kernel without a hello until it is given up
# Boots in a row in which no case began. A crash may swallow the first line of the
# case that caused it, and is quick; silence is neither.
MAX_FRUITLESS = {"crash": 50}
MAX_FRUITLESS_SLOW = 3


class Engine:
    def __init__(self, target, expectations, record, ui, options):
        """@options: jobs, isolate, case_timeout, max_time, fail_fast, strict."""
        self.target = target
        self.expectations = expectations
        self.record = record
        self.ui = ui
        self.options = options
        self.limits = target.limits
        self.stop_reason = None
        self.trouble = []  # what makes the run untrustworthy: exit status 4
        self._boots = 0
        self._running = {}  # slot -> Running
        self._followers = {}  # slot -> [Follower], of the process that runs there
        self._launchers = {}
        self._deadline = None
        self._waiting = []  # the tasks that no process has
        self._selector = selectors.DefaultSelector()
        self._scratch = None

    # -- the run

    def run(self, guard, tasks):
        """Runs @guard (a Task or None) alone, then @tasks. Every case gets a result."""
        self._tasks = ([guard] if guard else []) + list(tasks)
        if self.options.max_time:
            self._deadline = time.monotonic() + self.options.max_time
        signals = Signals(self._selector, self._stop)
        try:
            self._scratch = Scratch()
            if guard:
                self._run_tasks([guard])
                self._check_guard(guard)
            self._run_tasks(tasks)
        except OSError as error:
            self._fail(f"{error.filename or 'system'}: {error.strerror}")
        except Infrastructure as error:
            self._fail(str(error))
        finally:
            self._wind_up()
            signals.close()

    def _fail(self, text):
        self.trouble.append(text)
        self.stop_reason = self.stop_reason or text

    def _check_guard(self, guard):
        if guard.bad and not self.stop_reason:
            names = ", ".join(guard.bad[:3]) + (", ..." if len(guard.bad) > 3 else "")
            self._fail(f"broken target: {guard.kernel.name} did not pass ({names})")

    def _run_tasks(self, tasks):
        waiting = self._waiting = list(tasks)
        while (waiting or self._running or any(self._followers.values())) and not self.stop_reason:
            for slot in range(self.options.jobs):
                if slot not in self._running and (self._followers.get(slot) or waiting):
                    self._start(slot, waiting)
            self._wait()
            for running in list(self._running.values()):
                if self._watch(running):
                    if running.task.pending and not self.stop_reason:
                        waiting.insert(0 if self._calm(running.task) else len(waiting), running.task)
            if self._deadline and time.monotonic() > self._deadline:
                self.stop_reason = f"the run's time limit of {self.options.max_time:g} s"

    def _start(self, slot, waiting):
        """Begins the next boot of a slot: of the process that is there, or of a new one."""
        followers = self._followers.setdefault(slot, [])
        self._boots += 1
        if not followers:
            launcher = self._launchers.setdefault(slot, machines.Launcher(self.target))
            folder = os.path.join(self._scratch.path, str(self._boots))
            os.mkdir(folder)
            tasks = self._batch(launcher, waiting)
            members = [(task, self._share(task)) for task in tasks]
            boots = launcher.start_chain([(task.kernel, indices) for task, indices in members], folder)
            process = []
            followers += [Follower(*m, boot, folder, process) for m, boot in zip(members, boots)]
        task, indices, boot, folder, process = followers.pop(0)
        task.alone = max(0, task.alone - 1)
        running = Running(task, indices, boot, self._boots, slot, folder, process)
        self._running[slot] = running
        if boot.pidfd >= 0:
            self._selector.register(boot.pidfd, selectors.EVENT_READ)
        later = {"chain": process[0].number} if len(process) > 1 else {}
        self.record.event(
            "boot",
            boot=running.number,
            kernel=task.kernel.name,
            cases=machines.ranges.text_of(indices),
            command=boot.launch.argv,
            **later,
        )
        self.ui.boot(running)

    def _share(self, task):
        """The cases of @task that its next boot runs."""
        # What is known to end the target can take results of other cases along
        # that are still on their way: it runs alone, and when all else is done.
        indices = machines.fitting(self._calm(task) or task.pending[:1])
        return indices[:1] if self.options.isolate or task.alone else indices

    def _batch(self, launcher, waiting):
        """Takes from @waiting the tasks that the next process runs, one after the other.

        At first many, at last single ones, so that all slots have work to the end.
        """
        most = min(self.target.options.get("chain", 1), len(waiting) // (2 * self.options.jobs))
        batch = [waiting.pop(0)]
        if most > 1 and self._goes_along(batch[0], launcher):
            batch += itertools.islice((t for t in waiting if self._goes_along(t, launcher)), most - 1)
            waiting[:] = [task for task in waiting if task not in batch]
        return batch

    def _goes_along(self, task, launcher):
        """Whether the next boot of @task may share its process with other kernels."""
        if task.apart or task.alone or task.silent or task.fruitless or self.options.isolate:
            return False
        calm = self._calm(task)
        # With several processors a reset puts Bochs's clock forward by an hour, whose
        # events take it seconds: the instruction counters begin anew, and it takes the
        # difference for instructions.
        return bool(calm) and launcher.processors(task.kernel, calm) == 1

    def _abandon(self, slot):
        """Ends the process of a slot; the tasks that it has not come to wait again."""
        followers = self._followers.pop(slot, [])
        for follower in followers:
            follower.boot.stop()
        self._waiting[:0] = [follower.task for follower in followers]

    def _calm(self, task):
        """The pending cases of @task that are not known to end the target."""
        facts, cases = self._facts(self.record.fingerprint), task.kernel.cases

        def ends(index):
            return self.expectations.judge(cases[index].id, "crash", facts)[0] == "xfail"

        return [index for index in task.pending if not ends(index)]

    def _wait(self):
        if not self._running:
            return
        for key, _events in self._selector.select(POLL):
            if key.data:
                key.data.drain()
        self.ui.tick()

    # -- one boot

    def _watch(self, running):
        """Looks at one boot; True when it is over and settled."""
        boot, session = running.boot, running.session
        exited = boot.exited()  # before reading, so that nothing is missed
        data = boot.read()
        self._feed(running, data)
        now = time.monotonic()
        if len(boot.data) > self.limits["stream"] * 1024:
            return self._finish(running, "flood", f"more than {self.limits['stream']} KiB of output")
        if running.broken:
            return self._finish(running, "broken", running.broken.text)
        if exited and not data:
            return self._finish(running, "end" if session.ended else "crash", "")
        if session.ended:
            running.ended_at = running.ended_at or now
            if now - running.ended_at > self.limits["grace"]:
                return self._finish(running, "end", "")
            return False
        late = self._late(running, now)
        return self._finish(running, "timeout", late) if late else False

    def _late(self, running, now):
        limit = self.options.case_timeout or self.limits["case"]
        if now - running.began > self.limits["boot"]:
            return f"the boot took more than {self.limits['boot']:g} s"
        if running.case is not None:
            if now - running.case_began > limit:
                return f"no result after {limit:g} s"
        elif running.any_case:
            if now - running.moved > limit:
                return f"no line for {limit:g} s after a result"
        elif now - running.began > self.limits["start"]:
            return f"no case began within {self.limits['start']:g} s"
        return None

    def _feed(self, running, data):
        for event in running.session.feed(data):
            self._event(running, event)
        if running.case is not None and running.session.running is None:
            # Its result came, and waits for the line that confirms it.
            running.moved = time.monotonic()
            running.seconds[running.case] = running.moved - running.case_began
            running.case = None

    def _event(self, running, event):
        if isinstance(event, wire.Start):
            running.case, running.case_began = event.case, time.monotonic()
            running.any_case = True
            self.ui.case(running, running.task.kernel.cases[event.case])
        elif isinstance(event, wire.Result):
            if running.case == event.case:
                running.seconds[event.case] = time.monotonic() - running.case_began
            self._result(running, event.case, event.outcome, event.reason, event.details)
        elif isinstance(event, wire.Fingerprint):
            running.fingerprint[event.key] = event.value
        elif isinstance(event, wire.Broken):
            running.broken = event

    def _result(self, running, index, raw, reason, details, log=""):
        task = running.task
        case = task.kernel.cases[index]
        if index in task.pending:
            task.pending.remove(index)
        running.results.add(index)
        if raw == "error" and not reason:
            reason = next((text for key, text in details if key == "note"), "")
        result = Result(case, raw, raw, reason, details, running.seconds.get(index, 0.0))
        result.boot, result.repeat, result.log = running.number, task.repeat, log
        self._judge(result, running.fingerprint)
        if not result.ok:
            task.bad.append(case.id)
        if not result.ok or index in task.wanted:
            self._publish(result)

    def _judge(self, result, fingerprint):
        facts = self._facts({**self.record.fingerprint, **fingerprint})
        outcome, entry = self.expectations.judge(result.case.id, result.raw, facts)
        result.outcome, result.expectation = outcome, entry
        result.ok = expect.is_ok(outcome, entry, self.options.strict)

    def _facts(self, fingerprint):
        options, target = self.options, self.target
        return {**fingerprint, "cpu": target.cpu, "arch": options.arch, "linux": target.linux}

    def _publish(self, result):
        self.record.result(result, self.target.variant)
        self.ui.result(result)
        if self.options.fail_fast and not result.ok and not self.stop_reason:
            self.stop_reason = f"--fail-fast after {result.case.id}"

    # -- the end of a boot

    def _finish(self, running, kind, text):
        """Ends the boot, settles what it leaves, and frees its slot."""
        boot, task = running.boot, running.task
        if boot.pidfd >= 0:
            self._selector.unregister(boot.pidfd)
        rest = boot.stop()
        self._feed(running, rest)
        for event in running.session.resolve():
            self._event(running, event)
        if running.broken and kind in ("end", "crash", "timeout"):
            kind, text = "broken", running.broken.text
        if kind == "crash":
            text = f"the target ended before the kernel did ({boot.how_it_ended()})"
        log = boot.target_log()
        del self._running[running.slot]
        doubtful = kind != "stopped" and self._is_doubtful(running, kind)
        if doubtful:
            kind, text = "broken", f"{text or 'more hellos than kernels'}; all of the process runs again"
        goes_on = kind == "end" and boot.hands_on()
        if not goes_on:
            self._abandon(running.slot)
        if kind not in ("end", "stopped") and self._scratch.full():
            raise Infrastructure(f"{self._scratch.path}: the disk is full")
        try:
            if doubtful:
                self._void(running)
            else:
                self._settle(running, kind, text, log)
        finally:
            self._note_fingerprint(running)
            logs = self.record.boot_logs(running.number, task.kernel.name, boot.data, log)
            self.record.event(
                "boot-end",
                boot=running.number,
                end=kind,
                text=text,
                seconds=round(time.monotonic() - running.began, 3),
                bytes=len(boot.data),
                logs=logs,
            )
            if not goes_on:
                shutil.rmtree(running.folder, ignore_errors=True)
            self.ui.boot_end(running, kind)
        return True

    def _is_doubtful(self, running, kind):
        """Whether what this boot sent may be of a kernel that ran before it in the process."""
        if len(running.process) == 1:
            return False
        if kind == "broken" and running.broken.kind != "gave-up":
            return True
        return running.boot.forged() or kind != "end" and not running.session.started

    def _void(self, running):
        """Nothing counts that the process sent: its kernels run again, each apart."""
        busy = [other.task for other in self._running.values()] + [running.task]
        busy += [follower.task for followers in self._followers.values() for follower in followers]
        for one in running.process:
            one.task.apart = True
            one.task.pending = sorted(one.results.union(one.task.pending))
            one.results.clear()
            if one.task.pending and one.task not in busy + self._waiting:
                self._waiting.append(one.task)

    def _note_fingerprint(self, running):
        if running.fingerprint and running.fingerprint != self.record.fingerprint:
            if not self.record.fingerprint:
                self.record.fingerprint = running.fingerprint
            self.record.event("fingerprint", boot=running.number, values=running.fingerprint)

    def _settle(self, running, kind, text, log):
        """Decides what a boot that is over means for its cases."""
        task, session = running.task, running.session
        culprit, details = session.running, session.details
        last = session.close()
        if kind in ("end", "stopped"):
            for event in last:
                self._event(running, event)
            if running.results:
                task.fruitless = 0
            elif kind == "end":
                self._blame_first(running, "not-run", "the kernel ended before it")
            return
        excerpt = excerpt_of(log)
        outcome = kind if kind in ("crash", "timeout") else "error"
        if kind == "broken":
            broken = running.broken
            text = f"protocol error: {text}" if broken.kind == "protocol" else text
            outcome = "crash" if broken.kind == "restart" else "error"
            culprit, details = broken.blamed, broken.details
            again = running.results.intersection(broken.void)
            running.results -= again
            task.pending = sorted(again.union(task.pending))
        elif culprit is None and last:
            # The last case, or the next one, whose first line was lost on its way?
            # Each of them has to show it alone.
            if len(running.indices) > 1 and last[0].case != running.indices[-1]:
                task.alone = 2
                return
            culprit, details = last[0].case, last[0].details
            text += f" (after the case's result, {last[0].outcome}, and before the next line)"
        if culprit is not None:
            task.fruitless = 0
            self._result(running, culprit, outcome, text, details, excerpt)
        elif running.results:
            task.fruitless = 0
        elif session.started:
            self._blame_first(running, outcome, f"{text} (before the case began)", excerpt)
        else:
            task.silent += 1
            if task.silent >= MAX_SILENT or kind == "timeout":
                self._give_up(running, f"{task.kernel.name} never said hello: {text}", excerpt)

    def _blame_first(self, running, outcome, text, log=""):
        """A boot brought no result at all: its first case pays, so that others can run."""
        task = running.task
        self._result(running, running.indices[0], outcome, text, [], log)
        task.fruitless += 1
        if task.fruitless >= MAX_FRUITLESS.get(outcome, MAX_FRUITLESS_SLOW):
            name = task.kernel.name
            self._give_up(running, f"{name} began no case in {task.fruitless} boots: {text}", log)

    def _give_up(self, running, text, log):
        self.trouble.append("\n  ".join([text, *log.splitlines()[-6:]]))
        running.task.bad.append("no result")
        self._drop(running.task, text, running.number)

    def _drop(self, task, reason, boot=0):
        """Gives every case that the task still has the outcome not-run."""
        for index in task.pending:
            if index in task.wanted:
                result = Result(task.kernel.cases[index], "not-run", "not-run", reason)
                result.repeat, result.boot = task.repeat, boot
                self._publish(result)
        task.pending = []

    def _wind_up(self):
        """Ends what runs, names what did not run, removes what was made."""
        for running in list(self._running.values()):
            try:
                self._finish(running, "stopped", self.stop_reason or "stopped")
            except (Infrastructure, OSError) as error:
                self.trouble.append(str(error))
                running.boot.stop()
                self._running.pop(running.slot, None)
        for slot in list(self._followers):
            self._abandon(slot)
        for launcher in self._launchers.values():
            launcher.close()
        for task in self._tasks:
            try:
                self._drop(task, self.stop_reason or "stopped")
            except Infrastructure as error:
                self.trouble.append(str(error))
        self._selector.close()
        if self._scratch:
            self._scratch.close()

    def _stop(self, reason):
        if not self.stop_reason:
            self.stop_reason = reason
            self.trouble.append(reason)
