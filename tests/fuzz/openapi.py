"""schemathesis against the OpenAPI v3 that a running master serves: every operation it describes.

It tests the description as much as the server: no answer is a server error, and answers have the
type and the form that the description promises. Its phase that tries each value of each member
alone is left out: for the templates of pods it takes hours.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.report import Report, watched
from tests.servers.master import ROOT, RunningMaster

CHECKS = ("not_a_server_error", "content_type_conformance", "response_schema_conformance")
SHOWN = 6000


class Fuzzer:
    """A process of schemathesis for each group and version."""

    def __init__(self, master: RunningMaster, seed: int) -> None:
        self._master = master
        self._seed = seed
        self.report = Report()

    async def run(self, examples: int) -> Report:
        """Up to that many requests for each operation."""
        index = self._master.admin().json("GET", "/openapi/v3")
        async with watched(self._master, self.report):
            for path in index["paths"]:
                await asyncio.to_thread(self._group, path, examples)
        return self.report

    def _group(self, path: str, examples: int) -> None:
        with tempfile.TemporaryDirectory() as directory:
            authority, statuses = Path(directory) / "ca.pem", Path(directory) / "statuses"
            authority.write_bytes(self._master.kubeconfig.ca_pem)
            command = [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                *(f"{self._master.url}/openapi/v3/{path}", f"--url={self._master.url}"),
                f"--header=Authorization: Bearer {self._master.with_token().token}",
                *(f"--tls-verify={authority}", f"--checks={','.join(CHECKS)}"),
                *("--phases=fuzzing", f"--max-examples={examples}"),
                *(f"--seed={self._seed}", "--continue-on-failure", "--no-shrink"),
                *("--suppress-health-check=all", "--warnings=off", "--request-timeout=60"),
            ]
            environment = {
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "SCHEMATHESIS_HOOKS": "tests.fuzz.schemahooks",
                "WHERRY_FUZZ_STATUSES": str(statuses),
            }
            done = subprocess.run(
                command, cwd=directory, env=environment, capture_output=True, text=True, check=False
            )
            if statuses.exists():  # it could not even begin otherwise
                for status, count in json.loads(statuses.read_text()).items():
                    self.report.requests += count
                    self.report.statuses[int(status)] += count
            if done.returncode:
                self.report.faults.append(f"{path}: {done.stdout[-SHOWN:]}{done.stderr[-SHOWN:]}")
