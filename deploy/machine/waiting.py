"""Waiting for a master that serves or a node that is Ready, and saying what it waits for."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from common.api.wellknown import NODE_USER_PREFIX
from common.client.https import (
    ConnectionFailed,
    HttpsClient,
    KubeConfig,
    unverified_context,
    verified_context,
)
from common.runtime.clock import Clock
from common.runtime.reasons import reason
from common.security.identity import identity_from_pem
from deploy.machine import observe
from deploy.machine.observe import UnitState
from deploy.machine.steps import Executor, StepFailed

LIMIT_SECONDS = 300.0
"""Units have as long to start."""
POLL_SECONDS = 0.2
KUBECONFIG = Path("/var/lib/wherry/master/admin.kubeconfig")
NODE_PKI = Path("/var/lib/wherry/node/node-pki")
LOG_LINES = 3
RESTARTS_MAX = 5
"""Whatever ends so often at its start will not get ready."""


class Verdict(NamedTuple):
    """How far it is: done, failed for good, or neither; and the line that says so."""

    line: str
    is_done: bool = False
    has_failed: bool = False


def judge(units: Mapping[str, UnitState], answer: Callable[[], str]) -> Verdict:
    """What to say of the units of a role. `answer` is asked once all of them are up, and says what
    is still missing: '' when nothing is."""
    for name, state in units.items():
        if state.active == "failed" and not state.has_job:
            line = f"{name} has failed (exit code {state.exit_code})"
            return Verdict(line, has_failed=True)
        if state.restarts >= RESTARTS_MAX and state.active != "active":
            line = f"{name} ends again and again (exit code {state.exit_code})"
            return Verdict(line, has_failed=True)
    for name, state in units.items():
        if state.active != "active" or state.has_job:
            again = f", after exit code {state.exit_code}" if state.exit_code != "0" else ""
            now = "restarting" if state.active == "active" else state.active
            return Verdict(f"{name} is {now}{again}")
    for name, state in units.items():
        if state.status.startswith("waiting"):
            return Verdict(f"{name} is {state.status}")
    missing = answer()
    return Verdict(missing) if missing else Verdict("ready", is_done=True)


def since(first: Mapping[str, UnitState], now: Mapping[str, UnitState]) -> dict[str, UnitState]:
    """The states of units, with the restarts that came after the first look."""
    return {
        name: state._replace(restarts=state.restarts - first[name].restarts)
        for name, state in now.items()
    }


def until_ready(
    executor: Executor,
    units: tuple[str, ...],
    answer: Callable[[], str],
    say: Callable[[str], None],
    clock: Clock,
) -> None:
    """Return once the units are up and `answer` is content. Raises StepFailed with their log."""
    deadline, told = clock.monotonic() + LIMIT_SECONDS, ""
    first: Mapping[str, UnitState] = {}
    while True:
        states = observe.unit_states(executor, units)
        first = first or states
        verdict = judge(since(first, states), answer)
        if verdict.is_done:
            return
        if verdict.has_failed or clock.monotonic() > deadline:
            raise StepFailed("\n".join((verdict.line, *_logs(executor, units))))
        if verdict.line != told:
            say(f"waiting: {verdict.line}")
            told = verdict.line
        time.sleep(POLL_SECONDS)


def _logs(executor: Executor, units: tuple[str, ...]) -> Iterator[str]:
    """The last lines that the units have written themselves, without what systemd says of them:
    what one of them waits for, another one may know the cause of."""
    options = ("--no-pager", "--quiet", "--output", "cat", "--lines", str(LOG_LINES))
    for unit in units:
        with contextlib.suppress(StepFailed):
            said = executor.run(["journalctl", *options, f"_SYSTEMD_UNIT={unit}"])
            yield from (f"{unit}: {line}" for line in said.splitlines())


def master_missing() -> str:
    """What the master on this machine lacks; '' once it answers."""
    try:
        url = KubeConfig(KUBECONFIG).server
        status, _ = HttpsClient(url, unverified_context()).request("GET", "/readyz")
    except ConnectionFailed as error:
        return str(error)
    return "" if status == 200 else f"{url}/readyz answers {status}"


def master_url() -> str:
    """Where the master on this machine is reached. Raises ConnectionFailed."""
    return KubeConfig(KUBECONFIG).server


def node_missing(server: str) -> str:
    """What the node on this machine lacks; '' once its Node is Ready. It asks as itself."""
    identity = NODE_PKI / "node.pem"
    try:
        user = identity_from_pem(identity.read_bytes()).user
        context = verified_context((NODE_PKI / "ca.crt").read_bytes())
        context.load_cert_chain(identity)
        path = f"/api/v1/nodes/{user.removeprefix(NODE_USER_PREFIX)}"
        status, body = HttpsClient(server, context).request("GET", path)
    except (ConnectionFailed, OSError, ssl.SSLError) as error:
        return reason(error)
    if status != 200:
        return f"its Node: {server} answers {status}"
    return not_ready(json.loads(body))


def not_ready(node: Mapping[str, object]) -> str:
    """Why a Node is not Ready, in its own words; '' when it is."""
    status = node.get("status")
    conditions = status.get("conditions", ()) if isinstance(status, dict) else ()
    for condition in conditions:
        if condition.get("type") == "Ready":
            if condition.get("status") == "True":
                return ""
            return f"its Node is not Ready: {condition.get('message', '')}"
    return "its Node is not Ready yet"
