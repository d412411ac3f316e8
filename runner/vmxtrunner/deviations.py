"""vmxt deviations: what the targets are known to do otherwise than the SDM says.

Made from the expectations, so that the README's list is never typed by hand.
"""
import os
import re
import sys

from . import expect
from .errors import FAILED, OK, UsageError

BEGIN = "<!-- deviations: made by `runner/vmxt deviations --update README.md` -->"
END = "<!-- deviations: end -->"
_BETWEEN = re.compile(re.escape(BEGIN) + r"\n.*?" + re.escape(END), re.DOTALL)


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def _when(entry):
    return ", ".join(f"{key} = {value}" for key, value in entry.when.items())


def _reasons(entries):
    """The entries that say the same in one line: {(sdm, reason, when): [id]}."""
    lines = {}
    for entry in entries:
        if entry.outcome != "skip":  # a skip is no deviation
            lines.setdefault((entry.sdm, entry.reason, _when(entry)), []).append(entry)
    return lines


def text(configs):
    """The list as Markdown."""
    parts = []
    for path in expect.files(configs):
        name = os.path.basename(path).removesuffix(".toml")
        lines = _reasons(expect.Expectations([path]).entries)
        if not lines:
            parts.append(f"**{name}**: none found so far.\n")
            continue
        parts.append(f"**{name}**\n\n| SDM section | what it does instead | cases |\n|---|---|---|")
        for (sdm, reason, when), entries in sorted(lines.items()):
            ids = ", ".join(f"`{entry.id}`" for entry in entries)
            reason = f"{reason} (only with {when})" if when else reason
            parts.append(f"| {_cell(sdm)} | {_cell(reason)} | {ids} |")
        parts.append("")
    return "\n".join(parts)


def _read(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


def _renewed(path, configs):
    """(the file as it is, as it should be)."""
    old = _read(path)
    if len(_BETWEEN.findall(old)) != 1:
        raise UsageError(f"{path}: not one pair of the lines {BEGIN!r} and {END!r}")
    part = f"{BEGIN}\n\n{text(configs)}\n{END}"
    return old, _BETWEEN.sub(lambda _match: part, old)


def deviations_command(options):
    if options.check or options.update:
        path = options.check or options.update
        old, new = _renewed(path, options.configs)
        if old == new:
            return OK
        if options.check:
            print(f"{path}: its list of deviations is not what the expectations say: run")
            print(f"    runner/vmxt deviations --update {path}")
            return FAILED
        try:
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(new)
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        return OK
    sys.stdout.write(text(options.configs))
    return OK
