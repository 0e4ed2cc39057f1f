"""Connection tracking: UDP flows that lead to an endpoint which is none any more are forgotten.

The kernel sends the packets of a flow on to where the first one went, for as long as they come.
TCP needs nothing: its connections end by themselves when the endpoint does.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence

from node.kubeproxy.rules import Flow

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 10
NOTHING_FOUND = "0 flow entries have been deleted"


def forget(flows: Sequence[Flow]) -> None:
    """Delete the entries of some flows; that there are none is as good. Blocks.

    A failure is logged: the flows end when their clients fall silent.
    """
    for flow in flows:
        command = ["conntrack", "-D", "-p", "udp", "--orig-port-dst", str(flow.port)]
        if flow.address:
            command += ["--orig-dst", flow.address]
        if flow.endpoint:
            command += ["--reply-src", flow.endpoint]
        try:
            ended = subprocess.run(
                command, capture_output=True, check=False, timeout=TIMEOUT_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("stale UDP flows are not deleted", extra={"error": str(error)})
            return
        said = ended.stderr.decode("utf-8", "replace")
        if ended.returncode and NOTHING_FOUND not in said:
            extra = {"error": said.strip(), "object": f"{flow.address}:{flow.port}"}
            log.warning("stale UDP flows are not deleted", extra=extra)
