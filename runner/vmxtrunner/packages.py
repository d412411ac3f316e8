"""Debian packages in a folder of our own: no root, no change to the system.

The cache holds, under a name of ours, one set of unpacked packages and a lock
file with the check sum of each package. Whatever is used is checked against it
first: a damaged file is fetched again, and with an intact cache no network is
needed. apt does the fetching and checks the archive's signatures.
"""
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from fnmatch import fnmatchcase

from .config import Document
from .errors import Infrastructure, UsageError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILE = os.path.join(ROOT, "configs", "packages.toml")
SCHEMA = {
    "mirror": (str, ...),
    "keyring": (str, ...),
    "linux": (dict, ...),
    "program": (dict, ...),
}
LINUX = {"suite": (str, ...), "package": (str, ...)}
PROGRAM = {"suite": (str, ...), "packages": ([str], ...), "take": ([str], ("*",))}

# What of a kernel's package is unpacked: the rest is drivers.
KERNEL_FILES = ("./boot/vmlinuz-*", "*/kvm.ko*", "*/kvm-intel.ko*", "*/irqbypass.ko*")

# Nothing is unpacked outside of the folder, where this Python can see to it.
INSIDE_ONLY = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}

_URI = re.compile(r"'([^']+)' (\S+) (\d+) ?(\S*)")


def cache_folder():
    """$XDG_CACHE_HOME/vmxt where the user has said where caches go, else in the tree."""
    home = os.environ.get("XDG_CACHE_HOME")
    return os.path.join(home, "vmxt") if home else os.path.join(ROOT, "build", "cache")


def tell(text):
    print(f"vmxt: {text}", file=sys.stderr, flush=True)


def digest(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def locked():
    """The cache, for this process alone, and its disk's errors in words."""
    folder = cache_folder()
    try:
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    except OSError as error:
        where = error.filename or folder
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Infrastructure(f"the disk of the cache is full ({folder})") from error
        raise Infrastructure(f"{where}: {error.strerror or error}") from error


class Catalogue:
    """configs/packages.toml, checked."""

    def __init__(self, path=FILE):
        document = Document(path)
        data = document.check(document.data, SCHEMA)
        self.mirror = os.environ.get("VMXT_MIRROR") or data["mirror"]
        self.keyring = data["keyring"]
        self.linux = {
            name: document.check(entry, LINUX, "linux") for name, entry in data["linux"].items()
        }
        self.programs = {
            name: document.check(entry, PROGRAM, f"program.{name}")
            for name, entry in data["program"].items()
        }

    def kernel(self, version):
        """The Set that holds the kernel package of @version."""
        if version not in self.linux:
            known = ", ".join(self.linux)
            raise UsageError(f"no kernel {version!r} in {FILE} (there are: {known})")
        entry = self.linux[version]
        return Set(self, f"linux-{version}", entry["suite"], [entry["package"]], ["linux-image-[0-9]*"], KERNEL_FILES)

    def program(self, name):
        if name not in self.programs:
            raise UsageError(f"no program {name!r} in {FILE}")
        entry = self.programs[name]
        return Set(self, name, entry["suite"], entry["packages"], entry["take"])


class Set:
    """Some packages of one suite, unpacked together in the cache."""

    def __init__(self, catalogue, name, suite, packages, take, keep=("*",)):
        self.catalogue, self.name, self.suite = catalogue, name, suite
        self.packages, self.take, self.keep = packages, take, keep
        self.base = os.path.join(cache_folder(), name)
        self.root = os.path.join(self.base, "root")
        self._lock = os.path.join(self.base, "packages.json")

    def ensure(self):
        """Fetches and unpacks what is missing or damaged; the identity of what is there.

        To be called with the cache locked.
        """
        wanted = self._read_lock()
        if wanted is None or not self._intact(wanted):
            wanted = self._fetch()
        if self._unpacked() != self._identity(wanted):
            self._unpack(wanted)
        return self._identity(wanted)

    # -- what is there

    def _read_lock(self):
        try:
            with open(self._lock, encoding="ascii") as stream:
                data = json.load(stream)
            asked = [self.suite, self.packages, self.take]
            return data["files"] if data["asked"] == asked and data["files"] else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _path(self, name):
        return os.path.join(self.base, "packages", name)

    def _intact(self, wanted):
        good = True
        for name, checksum in wanted.items():
            path = self._path(name)
            if not os.path.exists(path):
                good = False
            elif digest(path) != checksum:
                tell(f"the cached package {name} is damaged: it is fetched again")
                os.unlink(path)
                good = False
        return good

    def _identity(self, wanted):
        return hashlib.sha256(json.dumps(wanted, sort_keys=True).encode("ascii")).hexdigest()

    def _unpacked(self):
        """The identity that the unpacked tree was made from; None if it was touched since."""
        try:
            with open(os.path.join(self.base, "unpacked.json"), encoding="ascii") as stream:
                data = json.load(stream)
            return data["identity"] if data["tree"] == _tree(self.root) else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    # -- what is done about it

    def _apt(self):
        folder = os.path.join(cache_folder(), "apt", self.suite)
        for name in ("lists/partial", "archives/partial"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        with open(os.path.join(folder, "status"), "a", encoding="ascii"):
            pass
        main = self.suite.removesuffix("-backports")
        with open(os.path.join(folder, "sources.list"), "w", encoding="ascii") as stream:
            for suite in dict.fromkeys((main, self.suite)):
                stream.write(f"deb [signed-by={self.catalogue.keyring}] {self.catalogue.mirror} {suite} main\n")
        settings = {
            "Dir::Etc::sourcelist": f"{folder}/sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": f"{folder}/lists",
            "Dir::State::status": f"{folder}/status",
            "Dir::Cache": folder,
            "Dir::Cache::archives": f"{folder}/archives",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "APT::Get::List-Cleanup": "false",
            "Acquire::Languages": "none",
            "Acquire::Retries": "2",
            "Acquire::http::Timeout": "30",
            "Debug::NoLocking": "true",
        }
        path = os.path.join(folder, "apt.conf")
        with open(path, "w", encoding="utf-8") as stream:
            stream.writelines(f'{key} "{value}";\n' for key, value in settings.items())
        return path

    def _run(self, *command, folder=None):
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "APT_CONFIG": self._apt()}
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
        except FileNotFoundError as error:
            raise Infrastructure(f"{command[0]} is missing: packages come through apt") from error
        if done.returncode:
            self._failed(command, done)
        return done.stdout

    def _failed(self, command, done):
        text = done.stderr + done.stdout
        if "No space left" in text or "enough free space" in text:
            raise Infrastructure(f"the disk of the cache is full ({cache_folder()})")
        lines = [line for line in text.splitlines() if line.startswith("E:")] or text.splitlines()[-1:]
        name = " ".join(command[:2])
        reason = "; ".join(lines[:2]) or f"exit status {done.returncode}"
        raise Infrastructure(
            f"cannot get the packages of {self.name} from {self.catalogue.mirror} ({name}: {reason}); "
            "is there a network?"
        )

    def _resolve(self):
        """[name=version] of the packages to take, as apt sees the suite now."""
        self._run("apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any")
        names = list(self.packages)
        target = ["-t", self.suite] if self.suite.endswith("-backports") else []
        text = self._run(
            "apt-get", "install", "-qq", "--print-uris", "--no-install-recommends", *target, *names
        )
        chosen = []
        for _uri, file, _size, _hash in _URI.findall(text):
            package, version, _rest = file.split("_", 2)
            if any(fnmatchcase(package, pattern) for pattern in self.take):
                chosen.append(f"{package}={version.replace('%3a', ':')}")
        return chosen

    def _fetch(self):
        tell(f"fetching the packages of {self.name} ({self.suite}) into {self.base}")
        folder = os.path.join(self.base, "packages")
        os.makedirs(folder, exist_ok=True)
        chosen = self._resolve()
        kept = set(os.listdir(folder))
        # What apt finds here already it checks and does not fetch again.
        self._run("apt-get", "download", "-qq", *chosen, folder=folder)
        files = {}
        for name in sorted(os.listdir(folder)):
            package, version, _rest = (name.split("_") + ["", ""])[:3]
            if f"{package}={version.replace('%3a', ':')}" in chosen:
                files[name] = digest(os.path.join(folder, name))
            elif name in kept:
                os.unlink(os.path.join(folder, name))
        if len(files) != len(chosen):
            raise Infrastructure(f"apt fetched {len(files)} of the {len(chosen)} packages of {self.name}")
        save(self._lock, {"asked": [self.suite, self.packages, self.take], "files": files})
        return files

    def _unpack(self, wanted):
        temporary = f"{self.root}.new"
        for path in (temporary, self.root):
            shutil.rmtree(path, ignore_errors=True)
        os.makedirs(temporary)
        for name in wanted:
            self._extract(name, temporary)
        os.rename(temporary, self.root)
        save(
            os.path.join(self.base, "unpacked.json"),
            {"identity": self._identity(wanted), "tree": _tree(self.root)},
        )

    def _extract(self, name, folder):
        command = ["dpkg-deb", "--fsys-tarfile", self._path(name)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                    for member in archive:
                        if any(fnmatchcase(member.name, pattern) for pattern in self.keep):
                            archive.extract(member, folder, set_attrs=member.isfile(), **INSIDE_ONLY)
            except tarfile.TarError as error:
                raise Infrastructure(f"cannot unpack {name}: {error}") from error

    # -- what is in it

    def find(self, pattern):
        """The one path below the root that fits the glob @pattern (relative)."""
        for folder, _folders, files in os.walk(self.root):
            for name in files:
                path = os.path.join(folder, name)
                if fnmatchcase(os.path.relpath(path, self.root), pattern):
                    return path
        raise Infrastructure(f"the packages of {self.name} hold no {pattern}")


def _tree(root):
    """A fingerprint of the tree's names, sizes and times: notices what was touched."""
    seen = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            seen.update(f"{os.path.relpath(path, root)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return seen.hexdigest()


def save(path, data):
    with open(f"{path}.new", "w", encoding="ascii") as stream:
        json.dump(data, stream, indent=1)
    os.replace(f"{path}.new", path)
