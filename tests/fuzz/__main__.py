"""A long run: `python -m tests.fuzz [--seed N] [--inputs N] [--requests N] [TARGET ...]`.

Targets are those of tests/fuzz/targets.py, `rest` and `nodes`; all of them when none is named. With
`--coverage SECONDS` the pure ones are run by atheris instead, which looks for inputs that reach new
code. Ends with 1 when something was found; the seed brings it back.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.bench.processes import pid_of, rss_mib
from tests.fakes.master import RunningMaster
from tests.fuzz.grammar import Grammar
from tests.fuzz.rest import Fuzzer, summary
from tests.fuzz.targets import TARGETS, sample

SHOWN = 20


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--inputs", type=int, default=20_000, help="for each pure target")
    parser.add_argument("--requests", type=int, default=20_000, help="to a running master")
    parser.add_argument("--coverage", type=int, metavar="SECONDS", help="atheris, for each target")
    parser.add_argument("target", nargs="*", choices=[*TARGETS, "rest", []], default=[])
    asked = parser.parse_args()
    names = asked.target or [*TARGETS, "rest"]
    print(f"seed {asked.seed}", flush=True)
    faults = 0
    for name in names:
        if name == "rest":
            faults += _rest(asked.seed, asked.requests)
        elif asked.coverage:
            faults += _coverage(name, asked.coverage)
        else:
            faults += _pure(name, asked.seed, asked.inputs)
    sys.exit(1 if faults else 0)


def _pure(name: str, seed: int, inputs: int) -> int:
    grammar, faults, slowest = Grammar(seed), 0, 0.0
    for _ in range(inputs):
        data = sample(name, grammar)
        start = time.perf_counter()
        try:
            TARGETS[name](data)
        except Exception:  # noqa: BLE001 - that is what is looked for
            faults += 1
            if faults <= SHOWN:
                print(f"{name}: {data[:2000]!r}\n{traceback.format_exc(limit=-4)}")
        slowest = max(slowest, time.perf_counter() - start)
    print(f"{name}: {inputs} inputs, {faults} faults, slowest {slowest * 1e3:.0f} ms", flush=True)
    return faults


def _rest(seed: int, requests: int) -> int:
    with tempfile.TemporaryDirectory() as directory:
        master = RunningMaster(Path(directory))
        try:
            master.start()
            before = rss_mib(pid_of(master))
            report = asyncio.run(Fuzzer(master, seed).run(requests))
            memory = f"{before:.0f} MiB before, {rss_mib(pid_of(master)):.0f} MiB after"
        finally:
            master.stop()
    for fault in report.faults[:SHOWN]:
        print(f"rest: {fault}")
    print(f"rest: {summary(report)}, memory {memory}", flush=True)
    return len(report.faults)


def _coverage(name: str, seconds: int) -> int:
    """A process of its own: atheris ends the one that it runs in."""
    command = [sys.executable, "-m", "tests.fuzz.coverage", name, f"-max_total_time={seconds}"]
    return int(subprocess.run(command, check=False).returncode != 0)


if __name__ == "__main__":
    main()
