"""The private folder of a run, and the removal of those that killed runs left."""
import fcntl
import os
import shutil
import tempfile
import time

PREFIX = "vmxt-"
YOUNG = 60  # seconds


class Scratch:
    """A folder that goes away in close(); a lock on it says that it is in use."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix=PREFIX)
        self._lock = _locked(self.path)
        self._remove_stale(os.path.dirname(self.path))

    def _remove_stale(self, folder):
        try:
            with os.scandir(folder) as entries:
                old = [
                    e.path
                    for e in entries
                    if e.name.startswith(PREFIX)
                    and e.is_dir(follow_symlinks=False)
                    and e.stat(follow_symlinks=False).st_uid == os.getuid()
                    # A young one may be about to be locked.
                    and e.stat(follow_symlinks=False).st_mtime < time.time() - YOUNG
                    and e.path != self.path
                ]
        except OSError:
            return
        for path in old:
            lock = _locked(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)

    def full(self):
        return shutil.disk_usage(self.path).free < 1 << 16

    def close(self):
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _locked(path):
    """A descriptor that holds the lock of the folder @path, or None."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
