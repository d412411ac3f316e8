"""One boot of a target: a process (group), the bytes it sends, and its end."""
import os
import re
import resource
import shutil
import signal
import subprocess
from collections import namedtuple

from .errors import Infrastructure

CHUNK = 1 << 16

# How a boot is started. @stream: "file", "pipe" (a FIFO) or "stdout"; @path: the
# file or FIFO; @logs: files of the target worth keeping; @file_limit: bytes that
# the process may write to any one file (0: unlimited); @folder: working folder;
# @fatal: a regular expression (bytes) of what the process says when it stops its
# machine for good and yet does not end.
Launch = namedtuple(
    "Launch", "argv stream path environment logs file_limit folder fatal", defaults=(None,)
)

# QEMU pauses the machine after these, and waits for a monitor's command.
KVM_STOPS = rb"KVM internal error[^\n]*|KVM: entry failed[^\n]*|error: kvm run failed[^\n]*"

_SETPRIV = shutil.which("setpriv")
# The target must not outlive the runner, even one that is killed.
_WITH_RUNNER = [_SETPRIV, "--pdeathsig", "KILL", "--"] if _SETPRIV else []


class Boot:
    def __init__(self, launch):
        self.launch = launch
        self.data = bytearray()  # everything received
        self.code = None
        self.killed = False  # by the runner
        self.stopped = ""  # what the process said when it stopped its machine
        self.pidfd = self._stream = -1
        if launch.stream == "pipe":
            os.mkfifo(launch.path)
            # Writing too, so that neither side waits for the other to open it.
            self._stream = os.open(launch.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.console = os.path.join(launch.folder, "console.log")
        piped = launch.stream == "stdout"
        try:
            with open(self.console, "wb") as console:
                self._process = subprocess.Popen(
                    _WITH_RUNNER + launch.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE if piped else console,
                    stderr=console,
                    cwd=launch.folder,
                    env={**os.environ, **launch.environment},
                    start_new_session=True,
                )
        except OSError as error:
            self.close()
            raise Infrastructure(f"cannot start {launch.argv[0]}: {error.strerror}") from error
        if piped:
            self._stream = self._process.stdout.fileno()
            os.set_blocking(self._stream, False)
        if launch.file_limit:
            limit = (launch.file_limit, launch.file_limit)
            try:
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, limit)
            except OSError:  # it has ended already, or the system forbids it
                pass
        try:
            self.pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            self.pidfd = -1  # the end is then found by asking

    def exited(self):
        """Whether the process has ended (it is not reaped yet)."""
        if self.code is not None:
            return True
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    def _look_for_stop(self):
        """Ends a process that has stopped its machine (launch.fatal)."""
        try:
            if os.path.getsize(self.console) == 0:
                return
            with open(self.console, "rb") as stream:
                found = re.search(self.launch.fatal, stream.read(1 << 16))
        except OSError:
            return
        if found:
            self.stopped = found[0].decode("utf-8", "replace").strip()
            self.kill()

    def read(self):
        """The bytes that came since the last call."""
        if self.launch.fatal and self.code is None:
            self._look_for_stop()
        if self._stream < 0:
            try:
                self._stream = os.open(self.launch.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return b""
        parts = []
        while True:
            try:
                part = os.read(self._stream, CHUNK)
            except BlockingIOError:
                break
            if not part:
                break
            parts.append(part)
            if len(parts) == 64:  # a flood: let the limits act
                break
        data = b"".join(parts)
        self.data += data
        return data

    def kill(self):
        """Ends the whole process group, whatever it does."""
        if self.code is None:
            # Before the leader is reaped its number cannot belong to another group.
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.code = self._process.wait()

    def stop(self):
        """Ends the process group, reads what is left and frees everything."""
        ended = self.code is None and self.exited()
        self.kill()
        if not ended:
            self.killed = True
        rest = self.read()
        self.close()
        return rest

    def close(self):
        for descriptor in {self.pidfd, self._stream} - {-1}:
            if self.launch.stream == "stdout" and descriptor == self._stream:
                self._process.stdout.close()
            else:
                os.close(descriptor)
        self.pidfd = self._stream = -1

    def how_it_ended(self):
        if self.stopped:
            return self.stopped
        if self.code is None:
            return "still running"
        if self.code < 0:
            try:
                return f"killed by {signal.Signals(-self.code).name}"
            except ValueError:
                return f"killed by signal {-self.code}"
        return f"exit status {self.code}"

    def hands_on(self):
        """Whether the process goes on with another kernel, in a boot of its own."""
        return False

    def target_log(self, limit=1 << 18, since=0, until=None):
        """The end of what the target itself wrote, as text; of its logs, the bytes named."""
        texts = []
        for path in [*self.launch.logs, self.console] if until is None else self.launch.logs:
            try:
                with open(path, "rb") as stream:
                    size = stream.seek(0, os.SEEK_END)
                    last = size if until is None else until
                    first = 0 if path == self.console else since
                    stream.seek(max(first, last - limit))
                    text = stream.read(max(0, last - stream.tell())).decode("utf-8", "replace").strip()
            except OSError:
                continue
            if text:
                texts.append(f"==> {os.path.basename(path)} <==\n{text}\n")
        return "\n".join(texts)
