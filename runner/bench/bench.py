#!/usr/bin/python3
"""bench.py ARCH BUILD: how fast the kernels and the runner are, on stock Bochs.

Prints the instructions from reset to the first case, the rate of cases that
enter a guest inside one kernel, and for the whole suite the wall time, bytes
sent a case and the runner's share of the processor time; then, for the nested
host in Bochs, its start, what each further kernel costs, and the whole suite.
"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VMXT = os.path.join(ROOT, "runner", "vmxt")
TARGET = "bochs"
INNER = "kvm-in-bochs"
FURTHER = 8  # kernels that the nested host starts after the first


class Run:
    """One run of the runner, and what its record says."""

    def __init__(self, target, arch, *words):
        with tempfile.TemporaryDirectory(prefix="vmxt-") as folder:
            command = [VMXT, "run", "--target", target, "--arch", arch, "--out", folder, *words]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            try:
                with open(os.path.join(folder, "events.jsonl"), encoding="utf-8") as file:
                    events = [json.loads(line) for line in file]
            except OSError:
                events = []
        if not events or events[-1]["event"] != "end" or done.returncode > 1:
            sys.exit(f"bench: {' '.join(command)}: status {done.returncode}\n{done.stdout}")
        self.end = events[-1]
        self.results = [event for event in events if event["event"] == "result"]
        self.boots = [event for event in events if event["event"] == "boot-end"]
        self.seconds = sum(boot["seconds"] for boot in self.boots)

    def tsc(self, name):
        for result in self.results:
            if result["id"] == name:
                return int(re.search(r"tsc (\d+)", json.dumps(result.get("details"))).group(1))
        sys.exit(f"bench: {name} did not run")


def line(name, value, unit):
    print(f"{name:<42}{value:>14}  {unit}")


def inside(arch, folder):
    words = ("--kernels", folder)
    empty = Run(TARGET, arch, *words, "=bench.first")
    line("reset to the first case", f"{empty.tsc('bench.first'):,}", "instructions")
    every = Run(TARGET, arch, *words)
    ticks = [every.tsc(f"bench.{name}") for name in ("first", "second", "last")]
    for n, (name, title) in enumerate((("enter", "enters a guest"), ("probe", "enters a guest, is refused once"))):
        cases = sum(result["id"].startswith(f"bench.{name}.") for result in every.results)
        run = Run(TARGET, arch, *words, f"bench.{name}")
        rate = cases / max(run.seconds - empty.seconds, 1e-3)
        line(f"a case that {title}", f"{(ticks[n + 1] - ticks[n]) // cases:,}", "instructions")
        line("", f"{rate:,.0f}", "cases a second")


def suite(target, arch, build):
    run = Run(target, arch, "--build", build)
    cases = len(run.results)
    cpu = run.end["cpu_seconds"]
    line("the whole suite", f"{cases:,}", f"cases in {len(run.boots)} boots")
    line("", f"{run.end['seconds']:.2f}", "seconds")
    line("", f"{cases / run.end['seconds']:,.0f}", "cases a second")
    line("", f"{sum(boot['bytes'] for boot in run.boots) / cases:.0f}", "bytes sent a case")
    line("", f"{100 * cpu['runner'] / (cpu['runner'] + cpu['targets']):.0f}", "% of the CPU time is the runner's")


def nested_host(arch, folder):
    words = ("-j", "1", "--repeat", str(1 + FURTHER), "--kernels", folder)
    first, *further = [boot["seconds"] for boot in Run(INNER, arch, *words, "=bench.first").boots]
    each = statistics.median(further)
    line("the nested host's start", f"{first - each:.2f}", "seconds")
    line("each further kernel", f"{each:.2f}", "seconds")


def main():
    arch, build = sys.argv[1:]
    folder = os.path.join(build, "bench")
    print(f"{TARGET}, {arch}, {os.cpu_count()} processors")
    inside(arch, folder)
    suite(TARGET, arch, build)
    print(f"{INNER}, {arch}")
    nested_host(arch, folder)
    suite(INNER, arch, build)


main()
