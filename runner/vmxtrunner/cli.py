"""The command line of vmxt."""
import argparse
import os
import sys

from . import VERSION
from .errors import BROKEN, OK, VmxtError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

PACKAGES = {
    "elftools": "python3-pyelftools",
    "junit_xml": "python3-junit.xml",
    "rich": "python3-rich",
    "tomllib": "python3 (3.11 or later)",
}

SELECTION = """\
Expressions: words joined by and, or, not and parentheses; words side by side
mean or.
  vmx.entry.*         ids by glob; without a wildcard, also all cases under an id
  =vmx.entry.cr0.pe   exactly this id
  vmx_tests/vmxon     a kernel; vmx_tests: a folder
  @FILE               the ids that a file lists, one a line
  id: kernel: folder: rule: need:   a property, by glob
  sdm: title: file:   the text occurs there (sdm:"host state"), or a glob of it all
  last:fail           outcome in the last results; last:bad: not as expected;
                      last:none: no result
Exit status: 0 as expected, 1 cases failed, 2 usage or configuration,
3 nothing selected, 4 infrastructure or broken target, or stopped.
"""


def _positive(kind):
    def convert(text):
        value = kind(text)
        if not value > 0 or value == float("inf"):
            raise ValueError
        return value

    convert.__name__ = f"positive {kind.__name__}"
    return convert


def _common(parser):
    default = os.environ.get("ARCH") or "x86_64"
    parser.add_argument(
        "--arch", default=default, choices=("x86_64", "i386"), help="build (default: %(default)s)"
    )
    parser.add_argument("--build", metavar="DIR", help="build folder (default: build/ARCH)")
    parser.add_argument("--kernels", metavar="DIR", help="take the images of this folder instead")
    parser.add_argument("--configs", metavar="DIR", default=os.path.join(ROOT, "configs"))


def _target(parser):
    parser.add_argument("-t", "--target", metavar="NAME", help="target, or a target file NAME.toml")
    parser.add_argument("--cpu", metavar="MODEL", help="CPU model, where the target has some")
    parser.add_argument("--linux", metavar="VERSION", help="kernel, where the target brings its own")


def _results(parser):
    parser.add_argument(
        "--results", metavar="DIR", help="last results (default: those of the target)"
    )


def _parser():
    top = argparse.ArgumentParser(prog="vmxt", description="Conformance suite for Intel VMX.")
    top.add_argument("--version", action="version", version=f"vmxt {VERSION}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": SELECTION}

    sub = commands.add_parser("list", help="list cases", **raw)
    sub.add_argument("expression", nargs="*", metavar="EXPR")
    sub.add_argument("--json", action="store_true", help="one JSON array")
    sub.add_argument("--kernels-only", action="store_true", help="kernels and their numbers of cases")
    sub.add_argument("--needs", action="store_true", help="what the cases need, counted")
    sub.add_argument("--check", action="store_true", help="check cases, rules, targets, expectations")
    for add in (_target, _results, _common):
        add(sub)

    sub = commands.add_parser("run", help="run cases and report", **raw)
    sub.add_argument("expression", nargs="*", metavar="EXPR")
    _target(sub)
    sub.add_argument("-j", "--jobs", type=_positive(int), metavar="N", help="boots at a time")
    sub.add_argument("-o", "--out", metavar="DIR", help="reports (default: build/results/TARGET)")
    sub.add_argument("--timeout", type=_positive(float), metavar="S", help="seconds for one case")
    sub.add_argument("--max-time", type=_positive(float), metavar="S", help="seconds for the run")
    sub.add_argument("--isolate", action="store_true", help="one boot for each case")
    sub.add_argument("--repeat", type=_positive(int), default=1, metavar="N")
    sub.add_argument("--failed-from", metavar="DIR", help="only what was not as expected there")
    sub.add_argument("--fail-fast", action="store_true", help="stop at the first bad result")
    sub.add_argument(
        "--strict", action="store_true", help="unexpected skips and idle expectations fail"
    )
    sub.add_argument("--no-preflight", action="store_true", help="trust the target unchecked")
    for add in (_results, _common):
        add(sub)

    sub = commands.add_parser("show", help="everything about one case")
    sub.add_argument("id")
    sub.add_argument("--json", action="store_true")
    for add in (_target, _results, _common):
        add(sub)

    sub = commands.add_parser("rules", help="rules of the catalogue and what covers them")
    sub.add_argument("pattern", nargs="*", metavar="RULE", help="globs of rule ids")
    sub.add_argument("--by", choices=("catalogue", "edition", "section", "book"), default="catalogue")
    for name in ("covered", "left-out", "uncovered"):
        sub.add_argument(f"--{name}", action="append_const", dest="states", const=name, help="list these")
    sub.add_argument("--json", action="store_true")
    for add in (_target, _results, _common):
        add(sub)

    sub = commands.add_parser("compare", help="cases that differ between runs")
    sub.add_argument("folder", nargs="+", metavar="DIR", help="results; the first is the measure")
    sub.add_argument("--json", action="store_true")

    sub = commands.add_parser("deviations", help="what targets are known to do otherwise (README)")
    sub.add_argument("--update", metavar="FILE", help="put it into this file, between its marks")
    sub.add_argument("--check", metavar="FILE", help="fail if the file holds something else")
    _common(sub)

    sub = commands.add_parser("targets", help="targets and whether this machine has them")
    sub.add_argument("--json", action="store_true")
    sub.add_argument("--default", action="store_true", help="only the name of the one that run takes")
    _common(sub)
    return top


def _dispatch(options):
    if options.command == "run":
        from .run import run as command
    elif options.command in ("compare", "deviations"):
        from . import compare, deviations

        module = compare if options.command == "compare" else deviations
        command = getattr(module, f"{options.command}_command")
    else:
        from . import commands

        command = getattr(commands, f"{options.command}_command")
    return command(options)


def main(argv=None):
    options = _parser().parse_args(argv)
    status = OK
    try:
        status = _dispatch(options)
        sys.stdout.flush()
    except VmxtError as error:
        print(f"vmxt: {error}", file=sys.stderr)
        status = error.status
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if not package:
            raise
        print(
            f"vmxt: {sys.executable} has no module {error.name}: install Debian's package {package}"
            " (`make setup`), and use the system's Python",
            file=sys.stderr,
        )
        status = BROKEN
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt:
        print("vmxt: stopped", file=sys.stderr)
        status = BROKEN
    return status
