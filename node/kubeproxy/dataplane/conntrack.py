"""Connection tracking: UDP flows that lead to an endpoint which is none any more are forgotten.

The kernel sends the packets of a flow on to where the first one went, for as long as they come.
TCP needs nothing: its connections end by themselves when the endpoint does.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Iterable

from node.kubeproxy.rules import Flow

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 10
NOTHING_FOUND = "0 flow entries have been deleted"
_ENTRY = re.compile(rb"dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+)")
"""Where the client sent to, and, behind the first half of the line, who answers."""


def tracked() -> set[Flow]:
    """The UDP flows that the kernel tracks: one for all clients of an address and its endpoint.

    Blocks. A failure is logged, and is as if there were none.
    """
    return parse(_conntrack("-L", "-p", "udp") or b"")


def parse(listed: bytes) -> set[Flow]:
    """The flows in what `conntrack -L` prints, an entry a line. Source: conntrack(8)."""
    return {
        Flow(address.decode(), int(port), endpoint.decode())
        for address, port, endpoint in _ENTRY.findall(listed)
    }


def forget(flows: Iterable[Flow]) -> None:
    """Delete the entries of some flows; that there are none is as good. Blocks.

    A failure is logged: the flows end when their clients fall silent.
    """
    for flow in flows:
        arguments = ["-D", "-p", "udp", "--orig-port-dst", str(flow.port)]
        if flow.address:
            arguments += ["--orig-dst", flow.address]
        if flow.endpoint:
            arguments += ["--reply-src", flow.endpoint]
        if _conntrack(*arguments) is None:
            return


def _conntrack(*arguments: str) -> bytes | None:
    """What the program prints; None when it cannot be run. Every failure is in the log."""
    try:
        ended = subprocess.run(
            ["conntrack", *arguments], capture_output=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("stale UDP flows are not deleted", extra={"error": str(error)})
        return None
    said = ended.stderr.decode("utf-8", "replace")
    if ended.returncode and NOTHING_FOUND not in said:
        extra = {"error": said.strip(), "object": " ".join(arguments)}
        log.warning("stale UDP flows are not deleted", extra=extra)
    return ended.stdout
