"""The record of a run: events.jsonl as things happen, the logs of each boot.

It keeps its word on a full disk: some space is held back from the start, so
that what was done until then can still be written.
"""
import errno
import fcntl
import json
import os
import resource
import time

from .errors import Infrastructure
from .results import counts_of

RESERVE = ".reserve"
REPORTS = ("events.jsonl", "junit.xml", "results.ktap", RESERVE)
MAX_LOG = 1 << 22  # bytes kept of what a boot sent
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(Infrastructure):
    pass


class Record:
    def __init__(self, folder, cases):
        self.folder = folder
        self.results = {}  # (id, repeat) -> Result
        self.logs = {}  # boot -> [path relative to the folder]
        self.notes = []
        self.fingerprint = {}
        self.full = False
        self._good = 0  # bytes of complete events
        try:
            self._prepare(64 * 1024 + 4096 * cases)
        except OSError as error:
            raise Infrastructure(f"{folder}: cannot write there: {error.strerror}") from error

    def _prepare(self, reserve):
        logs = os.path.join(self.folder, "logs")
        os.makedirs(logs, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Infrastructure(f"{self.folder}: another run writes there") from None
        old = [os.path.join(self.folder, name) for name in REPORTS]
        old += [os.path.join(logs, n) for n in os.listdir(logs) if n.endswith(".log")]
        for path in old:
            if os.path.lexists(path):
                os.unlink(path)
        descriptor = os.open(self.path(RESERVE), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, reserve)
        finally:
            os.close(descriptor)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._events = os.open(self.path("events.jsonl"), flags, 0o644)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def release(self):
        """Gives the reserved space back."""
        try:
            os.unlink(self.path(RESERVE))
        except OSError:
            pass

    def event(self, name, **fields):
        line = json.dumps({"event": name, **fields}, ensure_ascii=True) + "\n"
        try:
            self._write(line.encode("ascii"))
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise Infrastructure(f"{self.path('events.jsonl')}: {error.strerror}") from error
            first = not self.full
            self.full = True
            if first:
                self.release()
                try:
                    self._write(line.encode("ascii"))
                except OSError:
                    pass
            if first:
                raise DiskFull(f"{self.folder}: the disk is full") from error

    def _write(self, data):
        try:
            while data:
                data = data[os.write(self._events, data) :]
        except OSError:
            # No half line may stay.
            os.ftruncate(self._events, self._good)
            os.lseek(self._events, self._good, os.SEEK_SET)
            raise
        self._good = os.lseek(self._events, 0, os.SEEK_CUR)

    def result(self, result, target):
        case = result.case
        key = (case.id, result.repeat)
        fields = {
            "id": case.id,
            "outcome": result.outcome,
            "kernel": case.kernel,
            "target": target,
            "rules": list(case.rules),
            "sdm": case.sdm,
            "title": case.title,
            "raw": result.raw,
            "ok": result.ok,
            "boot": result.boot,
            "seconds": round(result.seconds, 3),
        }
        if result.repeat > 1:
            fields["repeat"] = result.repeat
        if result.reason:
            fields["reason"] = result.reason
        if result.details:
            fields["details"] = result.details
        if result.expectation:
            fields["expectation"] = result.expectation.as_json()
        if key in self.results:
            fields["replaces"] = self.results[key].outcome
        self.results[key] = result
        self.event("result", **fields)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)
            self.event("note", text=text)

    def boot_logs(self, number, kernel, stream, target_log):
        """Keeps what a boot sent and what the target wrote."""
        base = f"{number:04}-{kernel.replace('/', '.')}"
        texts = {"serial": bytes(stream[:MAX_LOG]), "target": target_log.encode("utf-8", "replace")}
        kept = []
        for kind, data in texts.items():
            if not data:
                continue
            name = os.path.join("logs", f"{base}.{kind}.log")
            try:
                with open(self.path(name), "wb") as file:
                    file.write(data)
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise Infrastructure(f"{self.path(name)}: {error.strerror}") from error
                try:
                    os.unlink(self.path(name))
                except OSError:
                    pass
                if not self.full:
                    self.full = True
                    self.release()
                    raise DiskFull(f"{self.folder}: the disk is full") from error
                continue
            kept.append(name)
        self.logs[number] = kept
        return kept

    def finish(self, status, seconds):
        self.release()
        counts = counts_of(self.results.values())
        cpu = {}
        for name, who in (("runner", resource.RUSAGE_SELF), ("targets", resource.RUSAGE_CHILDREN)):
            usage = resource.getrusage(who)
            cpu[name] = round(usage.ru_utime + usage.ru_stime, 3)
        self.event("end", status=status, seconds=round(seconds, 3), counts=counts, cpu_seconds=cpu)
        os.close(self._events)

    def save(self, name, text):
        """Writes one whole report, or leaves none."""
        temporary = self.path(f".{name}.{os.getpid()}")
        try:
            with open(temporary, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
            os.replace(temporary, self.path(name))
        except OSError as error:
            try:
                os.unlink(temporary)
            except OSError:
                pass
            raise Infrastructure(f"{self.path(name)}: {error.strerror}") from error


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def read_results(folder):
    """The result lines of an earlier run, the last one of each id and repetition."""
    path = os.path.join(folder, "events.jsonl")
    results = {}
    try:
        with open(path, encoding="utf-8") as stream:
            for line in stream:
                try:
                    event = json.loads(line)
                except ValueError:  # a line cut by a crash
                    continue
                if isinstance(event, dict) and event.get("event") == "result":
                    results[(event.get("id"), event.get("repeat", 1))] = event
    except OSError as error:
        raise Infrastructure(f"{path}: {error.strerror}") from error
    return list(results.values())
