"""The rotation of the authorities: who must have what before the next step harms nobody.

begin:  the next authority of servers is trusted, too; the next one of clients signs already.
switch: this server shows a certificate of the next authority.
finish: the former authorities are not trusted any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from common.api import errors
from common.security.digest import digest
from master.pki.authority import Stage
from master.pki.pki import Pki

STEPS = {"begin": Stage.STEADY, "switch": Stage.PREPARED, "finish": Stage.SWITCHED}
"""Each step, and the stage of the servers' authority from which it leads on."""


class NodeState(NamedTuple):
    """What is known of a node."""

    connected: bool
    authority: str = ""
    """The key id of the one that has signed its certificate."""
    trusts: str = ""
    """The digest of the authorities that it trusts."""


class Rotation:
    """Carries the steps out, one at a time."""

    def __init__(
        self,
        pki: Pki,
        nodes: Callable[[], Mapping[str, NodeState]],
        former_kubeconfigs: Callable[[], Iterable[str]],
    ) -> None:
        """`former_kubeconfigs` are those whose certificates the present authority did not sign."""
        self._pki = pki
        self._nodes = nodes
        self._former_kubeconfigs = former_kubeconfigs

    def state(self) -> dict[str, object]:
        """The next step, and for whom it must wait."""
        stage = self._pki.server_ca.stage
        [step] = (name for name, before in STEPS.items() if before is stage)
        return {"next": step, "waitsFor": [] if step == "begin" else list(self._waits_for())}

    def _waits_for(self) -> Iterable[str]:
        wanted = digest(self._pki.server_ca.trusted)
        for name, node in sorted(self._nodes().items()):
            if not node.connected:
                yield f"node {name} is not connected"
            elif node.trusts != wanted:
                yield f"node {name} does not trust the new authority yet"
            elif node.authority != self._pki.client_ca.signer_id:
                yield f"node {name} has not renewed its certificate yet"
        for name in sorted(self._former_kubeconfigs()):
            yield f"kubeconfig {name} is of before: revoke it, and make it again"

    def step(self, name: str, *, force: bool) -> None:
        """Take the next step; raises StatusError 409 when it is another one or harms somebody."""
        state = self.state()
        if name != state["next"]:
            text = f"the next step of the rotation is {state['next']}, not {name[:32]}"
            raise errors.StatusError(409, "Conflict", text)
        if state["waitsFor"] and not force:
            waits_for = state["waitsFor"]
            assert isinstance(waits_for, list)
            raise errors.StatusError(409, "Conflict", f"too early: {'; '.join(waits_for)}")
        servers, clients = self._pki.server_ca, self._pki.client_ca
        match name:
            case "begin":
                clients.prepare()
                clients.switch()
                servers.prepare()  # last: its stage says that all of this is done
            case "switch":
                servers.switch()
            case "finish":
                clients.finish()
                servers.finish()
        self._pki.renew()
