#!/usr/bin/python3
"""Runs the project's own tests; the last line is `N passed, N failed`.

Builds with each compiler for each architecture, the core's unit tests on the
host, and the runner's tests (pytest).
"""
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", "build")
JOBS = f"-j{os.cpu_count()}"

passed, failed = 0, []


def report(name, ok, output="", count=1):
    global passed
    if ok:
        passed += count
    else:
        failed.append(name)
        sys.stdout.write(output[-20000:])
    print(f"{'ok    ' if ok else 'FAILED'} {name}", flush=True)


def run(*command, **options):
    """(ended with 0, what it wrote)"""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", **options
    )
    return done.returncode == 0, done.stdout


def make(*words, **options):
    # The outer make's options and job server are not for these.
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return run("make", "--no-print-directory", *words, env=env, **options)


def builds():
    default = os.environ.get("CC") or "gcc"
    compilers = [(default, BUILD), ("clang" if "clang" not in default else "gcc", f"{BUILD}/other")]
    prefix = f"CROSS_COMPILE={os.environ.get('CROSS_COMPILE', '')}"
    for compiler, folder in compilers:
        for arch in ("x86_64", "i386"):
            words = (f"CC={compiler}", prefix, f"ARCH={arch}", f"BUILD={folder}", "all", "fixtures")
            report(f"build {arch} by {compiler}", *make(JOBS, *words))
            ok, output = make("-q", *words)
            report(f"build {arch} by {compiler}: nothing is built twice", ok, output)


def same_elsewhere():
    """The images do not depend on where and when they are built."""
    with tempfile.TemporaryDirectory(prefix="vmxt-") as folder:
        for name in os.listdir(ROOT):
            if name in ("lib", "x86", "Makefile") or name.endswith("_tests"):
                copy = shutil.copytree if os.path.isdir(name) else shutil.copy2
                copy(name, os.path.join(folder, name))
        ok, output = make(JOBS, "BUILD=out", "CC=" + (os.environ.get("CC") or "gcc"), cwd=folder)
        different = []
        for where, _, files in os.walk(os.path.join(folder, "out")):
            for name in files:
                if name.endswith((".rom", ".elf")):
                    other = os.path.join(where, name)
                    here = os.path.join(BUILD, os.path.relpath(other, os.path.join(folder, "out")))
                    if not os.path.exists(here) or not filecmp.cmp(here, other, shallow=False):
                        different.append(f"differs: {here}\n")
        report("images built elsewhere are the same", ok and not different, output + "".join(different))


def core():
    ok, output = make(JOBS, f"BUILD={BUILD}", "host-tests")
    if not ok:
        report("build of the core's tests", ok, output)
        return
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    folder = os.path.join(BUILD, "host")
    # test_suite has one test a process, chosen by an argument.
    for words in [["test_lib"], *(["test_suite", str(n)] for n in range(4))]:
        ok, output = run(os.path.join(folder, words[0]), *words[1:], env=env)
        names = re.findall(r"^(ok|not ok) \d+ - (\S+)", output, re.M)
        for result, name in names:
            report(f"{words[0]}: {name}", result == "ok", output)
        if not ok and all(result == "ok" for result, _ in names) or not names:
            report(" ".join(words), False, output)


def runner():
    with tempfile.TemporaryDirectory(prefix="vmxt-") as folder:
        results = os.path.join(folder, "junit.xml")
        command = ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5"]
        done = subprocess.run([*command, f"--junitxml={results}", "runner/tests"])
        try:
            suites = ET.parse(results).getroot().iter("testsuite")
            counts = [{key: int(value) for key, value in suite.items() if value.isdigit()} for suite in suites]
        except (OSError, ET.ParseError):
            counts = []
    total = {key: sum(c[key] for c in counts) for key in ("tests", "failures", "errors", "skipped")}
    bad = total["failures"] + total["errors"]
    report("the runner's tests", True, count=total["tests"] - bad - total["skipped"])
    failed.extend(["pytest"] * (bad or done.returncode != 0))


def main():
    os.chdir(ROOT)
    begin = time.monotonic()
    builds()
    same_elsewhere()
    core()
    runner()
    print(f"{time.monotonic() - begin:.0f} s")
    print(f"{passed} passed, {len(failed)} failed")
    sys.exit(bool(failed))


main()
