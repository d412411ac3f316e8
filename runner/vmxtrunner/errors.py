"""The errors that end the program, each with the exit status that tells its kind."""

OK = 0
FAILED = 1
USAGE = 2
NOTHING = 3
BROKEN = 4


class VmxtError(Exception):
    status = BROKEN


class UsageError(VmxtError):
    """A wrong option, expression or configuration file."""

    status = USAGE


class NothingSelected(VmxtError):
    status = NOTHING


class Infrastructure(VmxtError):
    """The machine cannot do what was asked: no image, no program, no disk space."""

    status = BROKEN
