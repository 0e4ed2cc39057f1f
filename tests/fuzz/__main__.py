"""A long run: `python -m tests.fuzz [--seed N] [--inputs N] [--requests N] [TARGET ...]`.

Targets are the pure ones of tests/fuzz/targets.py, and those that a running master is sent:

- `rest`: requests of an administrator over REST
- `rpc`: calls of the gRPC service for scripts, and of the tools beside it
- `nodes`: streams, sessions and gateway calls of machines with certificates of nodes
- `openapi`: what schemathesis makes of our OpenAPI v3; `--examples` for each operation

All of them run when none is named. With `--coverage SECONDS` the pure ones are run by atheris
instead, which looks for inputs that reach new code. Ends with 1 when something was found; the seed
brings it back.
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
from typing import Any

from tests.bench.processes import running_master
from tests.fuzz import nodes, openapi, rest, rpc
from tests.fuzz.grammar import Grammar
from tests.fuzz.targets import TARGETS, sample

SHOWN = 20
SAMPLES = 300
RUNNING: dict[str, Any] = {"rest": rest, "rpc": rpc, "nodes": nodes, "openapi": openapi}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--inputs", type=int, default=20_000, help="for each pure target")
    parser.add_argument("--requests", type=int, default=20_000, help="for rest, rpc and nodes each")
    parser.add_argument("--examples", type=int, default=20, help="for each operation of openapi")
    parser.add_argument("--coverage", type=int, metavar="SECONDS", help="atheris, for each target")
    parser.add_argument("target", nargs="*", choices=[*TARGETS, *RUNNING, []], default=[])
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    faults = 0
    for name in asked.target or [*TARGETS, *RUNNING]:
        if name in RUNNING:
            faults += _running(name, asked)
        elif asked.coverage:
            faults += _coverage(name, asked.seed, asked.coverage)
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


def _running(name: str, asked: argparse.Namespace) -> int:
    amount = asked.examples if name == "openapi" else asked.requests
    with running_master() as master:
        report = asyncio.run(RUNNING[name].Fuzzer(master, asked.seed).run(amount))
    for fault in report.faults[:SHOWN]:
        print(f"{name}: {fault}")
    print(f"{name}: {report.summary()}", flush=True)
    return len(report.faults)


def _coverage(name: str, seed: int, seconds: int) -> int:
    """A process of its own: atheris ends the one that it runs in. It begins with our samples."""
    grammar = Grammar(seed)
    with tempfile.TemporaryDirectory() as corpus:
        for number in range(SAMPLES):
            Path(corpus, str(number)).write_bytes(sample(name, grammar))
        command = [sys.executable, "-m", "tests.fuzz.coverage", name, f"-seed={seed}"]
        command += [f"-max_total_time={seconds}", "-print_final_stats=1", corpus]
        return int(subprocess.run(command, check=False).returncode != 0)


if __name__ == "__main__":
    main()
