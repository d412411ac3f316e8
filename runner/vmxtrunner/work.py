"""What the engine keeps of a kernel's work, and of a boot in progress."""
import re
import time
from collections import namedtuple

from . import wire

_BOILERPLATE = re.compile(
    r"^=+$|^==> .* <==$|^\d{11}i\[|Bochs connected|Bochs x86 Emulator|Built from|Timestamp:|^Next at t=0"
    r"|^\(0\) \[0x0000fffffff0\]|Shutdown port|exiting with the following"
)


class Task:
    """The cases of one kernel that have no result yet, in rising order."""

    def __init__(self, kernel, indices, repeat=1, wanted=None):
        self.kernel = kernel
        self.pending = list(indices)
        self.repeat = repeat
        # The cases whose results were asked for; of others only a bad one is told.
        self.wanted = set(indices if wanted is None else wanted)
        self.bad = []  # ids of the cases that did not end as expected
        self.silent = 0  # boots without a hello
        self.fruitless = 0  # boots in a row without a result
        self.alone = 0  # so many next boots run one case only
        self.apart = False  # shares no process with other kernels any more


# A boot to come: its process is there already, and runs another kernel before.
Follower = namedtuple("Follower", "task indices boot folder process")


class Running:
    """One boot in progress. @process: the boots that the process has begun, to this one."""

    def __init__(self, task, indices, boot, number, slot, folder, process):
        kernel = task.kernel
        self.task, self.indices, self.boot = task, indices, boot
        self.number, self.slot, self.folder, self.process = number, slot, folder, process
        process.append(self)
        self.session = wire.Session(kernel.build, kernel.arch, len(kernel.cases), indices)
        self.began = self.moved = time.monotonic()
        self.ended_at = None  # when the last line came
        self.case = None  # the case that runs
        self.case_began = 0.0
        self.seconds = {}
        self.results = set()
        self.fingerprint = {}
        self.broken = None
        self.any_case = False


def excerpt_of(log):
    """The end of a target's log without what says nothing."""
    lines = [line for line in log.splitlines() if line.strip() and not _BOILERPLATE.search(line)]
    return "\n".join(lines[-12:])
