"""Who gets a node's certificate: new machines by a token with uses left, and the same again."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.types.certificates_v1 import CertificateSigningRequest
from common.api.types.core_v1 import Node, Secret
from common.api.wellknown import KUBELET_SIGNER
from common.client.commands import Update
from common.client.informer import Item
from common.runtime.clock import SystemClock
from common.security.ca import CLIENT, CertificateAuthority, Leaf, serial_of
from common.security.csr import (
    ASKED_BY,
    MACHINE_ID,
    NEXT_CERTIFICATE,
    NODE_CERTIFICATE,
    REVOKED,
    make_key,
    make_request,
)
from common.security.tokens import NAME_PREFIX, NAMESPACE, USES
from master.controllers.certificates.csrsigning import CertificateSigningController
from tests.unit.controllers.sim import Cluster

AUTHORITY = CertificateAuthority.create("test", SystemClock())
KEY = make_key()


def sign(request: bytes, node: str) -> bytes:
    """As the master's PKI does."""
    leaf = Leaf(
        common_name=f"system:node:{node}", organizations=("system:nodes",), usages=(CLIENT,)
    )
    return AUTHORITY.sign_request(request, leaf)


class World(Cluster):
    """A cluster with a join token, and machines that ask."""

    def __init__(self, uses: str | None = "2") -> None:
        super().__init__()
        data = {} if uses is None else {USES: base64.b64encode(uses.encode()).decode()}
        metadata = {"name": f"{NAME_PREFIX}abcdef", "namespace": NAMESPACE}
        self.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        self.controller = CertificateSigningController(sign)

    def ask(
        self,
        node: str,
        machine: str = "m1",
        groups: tuple[str, ...] = ("system:bootstrappers",),
        user: str = "system:bootstrap:abcdef",
    ) -> CertificateSigningRequest:
        """A machine's request, and what becomes of it."""
        return self.answer(self.request(node, machine, groups, user))

    def request(
        self,
        node: str,
        machine: str = "m1",
        groups: tuple[str, ...] = ("system:bootstrappers",),
        user: str = "system:bootstrap:abcdef",
        serial: str = "",
    ) -> Item:
        """A machine's request that waits."""
        pem = make_request(KEY, f"system:node:{node}", ("system:nodes",))
        plain: dict[str, Any] = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {
                "name": f"node-csr-{node}-{self.rng.suffix()}",
                "generateName": f"node-csr-{node}-",
                "annotations": {MACHINE_ID: machine},
            },
            "spec": {
                "request": base64.b64encode(pem).decode(),
                "signerName": KUBELET_SIGNER,
                "usages": ["client auth"],
                "username": user,
                "groups": groups,
                "extra": {ASKED_BY: [serial]} if serial else {},
            },
        }
        return self.put(plain)

    def answer(self, made: Item) -> CertificateSigningRequest:
        """What becomes of a request."""
        for command in self.controller.reconcile(made.key, self.view, self.now):
            self.carry_out(command)
        return self.get(CertificateSigningRequest, made.name, "")

    def register(self, name: str, machine: str, certificate: bytes) -> None:
        """What the machine does with its certificate."""
        node = Node()
        node.metadata.name = name
        node.metadata.annotations = {NODE_CERTIFICATE: serial_of(certificate)}
        node.status.nodeInfo.machineID = machine
        self.put(codec.decode_plain(codec.encode(node)))

    def uses_left(self) -> bytes:
        return self.get(Secret, f"{NAME_PREFIX}abcdef", NAMESPACE).data[USES]


def verdict(request: CertificateSigningRequest) -> str:
    [condition] = request.status.conditions
    assert bool(request.status.certificate) == (condition.type == "Approved")
    return condition.message if condition.type == "Denied" else "approved"


def test_a_new_machine_gets_its_certificate_and_takes_a_use() -> None:
    world = World()
    assert verdict(world.ask("n1")) == "approved"
    assert world.uses_left() == b"1"


@pytest.mark.parametrize("done", range(4))
def test_who_decides_again_hands_out_the_same_certificate_for_the_same_use(done: int) -> None:
    """The outcome of a write was not known: so many of them had been done."""
    world = World("1")
    world.register("n1", "m1", AUTHORITY.issue_client("system:node:n1").certificate_pem)
    made = world.request("n1")
    first = world.controller.reconcile(made.key, world.view, world.now)
    assert len(first) == 3
    for command in first[:done]:
        world.carry_out(command)
    request = world.answer(made)
    assert verdict(request) == "approved"
    assert isinstance(first[-1], Update)
    assert request.status.certificate == first[-1].body.status.certificate
    said = world.get(Node, "n1", "").metadata.annotations
    assert said[NODE_CERTIFICATE] == serial_of(request.status.certificate)
    assert world.uses_left() == b"0"


def test_a_token_is_used_up() -> None:
    world = World("1")
    assert verdict(world.ask("n1")) == "approved"
    assert "as often as it may be" in verdict(world.ask("n2", "m2"))
    assert world.uses_left() == b"0"


def test_a_token_of_before_has_no_number_of_uses() -> None:
    world = World(None)
    for number in range(5):
        assert verdict(world.ask(f"n{number}", f"m{number}")) == "approved"


@pytest.mark.parametrize("uses", ["", "-1", "x", "9" * 20, "0"])
def test_a_number_of_uses_that_is_none_lets_nobody_in(uses: str) -> None:
    assert verdict(World(uses).ask("n1")) != "approved"


def test_a_token_that_is_gone_lets_nobody_in() -> None:
    world = World()
    world.listers["secrets"].remove(f"{NAMESPACE}/{NAME_PREFIX}abcdef")
    assert "not there any more" in verdict(world.ask("n1"))


def test_another_machine_does_not_get_the_place_of_a_node() -> None:
    world = World()
    world.register("n1", "m1", world.ask("n1").status.certificate)
    for thief in ("m2", ""):
        assert "is another machine" in verdict(world.ask("n1", thief))
    assert world.uses_left() == b"1", "a refusal takes no use"


def test_the_same_machine_gets_a_new_certificate_and_the_old_one_counts_no_longer() -> None:
    world = World()
    first = world.ask("n1").status.certificate
    world.register("n1", "m1", first)
    second = world.ask("n1").status.certificate
    node = world.get(Node, "n1", "")
    assert node.metadata.annotations[NODE_CERTIFICATE] == serial_of(second) != serial_of(first)


def renew(
    world: World, node: str, user: str = "", certificate: bytes = b""
) -> CertificateSigningRequest:
    """What becomes of a node's own request, made by a certificate of its."""
    said = world.reader(Node).get("", node)
    assert said is not None
    present = said.decode(Node).metadata.annotations[NODE_CERTIFICATE]
    serial = serial_of(certificate) if certificate else present
    made = world.request(
        node, groups=("system:nodes",), user=user or f"system:node:{node}", serial=serial
    )
    return world.answer(made)


def test_the_certificate_by_which_a_node_asks_goes_on_to_count() -> None:
    """Also one that no stream was opened by yet: the answer is fetched by it."""
    world = World()
    first = world.ask("n1").status.certificate
    world.register("n1", "m1", first)
    second = renew(world, "n1").status.certificate
    third = renew(world, "n1", certificate=second).status.certificate
    said = world.get(Node, "n1", "").metadata.annotations
    assert (said[NODE_CERTIFICATE], said[NEXT_CERTIFICATE]) == (serial_of(second), serial_of(third))
    assert "counts no longer" in verdict(renew(world, "n1", certificate=first))
    again = renew(world, "n1", certificate=second).status.certificate
    said = world.get(Node, "n1", "").metadata.annotations
    assert (said[NODE_CERTIFICATE], said[NEXT_CERTIFICATE]) == (serial_of(second), serial_of(again))


def test_a_node_renews_its_certificate_without_a_token_and_both_count() -> None:
    world = World()
    first = world.ask("n1").status.certificate
    world.register("n1", "m1", first)
    left = world.uses_left()
    second = renew(world, "n1").status.certificate
    said = world.get(Node, "n1", "").metadata.annotations
    assert said[NODE_CERTIFICATE] == serial_of(first)
    assert said[NEXT_CERTIFICATE] == serial_of(second)
    assert world.uses_left() == left
    world.ask("n1")
    assert NEXT_CERTIFICATE not in world.get(Node, "n1", "").metadata.annotations


@pytest.mark.parametrize("joins", [True, False])
def test_a_request_that_came_late_takes_nothing_from_the_one_that_followed_it(joins: bool) -> None:
    """Whoever gets no answer asks again; requests that wait are decided in any order."""
    world = World()
    world.register("n1", "m1", world.ask("n1").status.certificate)
    who: dict[str, Any] = {}
    if not joins:
        serial = world.get(Node, "n1", "").metadata.annotations[NODE_CERTIFICATE]
        who = {"groups": ("system:nodes",), "user": "system:node:n1", "serial": serial}
    first = world.request("n1", **who)
    others = [world.request("n1", "m2"), world.request("n2", "m1", **who)]
    world.now += timedelta(seconds=12)
    second = world.request("n1", **who)
    certificate = world.answer(second).status.certificate
    assert certificate
    assert "has asked again" in verdict(world.answer(first))
    said = world.get(Node, "n1", "").metadata.annotations
    assert serial_of(certificate) == said[NODE_CERTIFICATE if joins else NEXT_CERTIFICATE]
    assert all("has asked again" not in verdict(world.answer(other)) for other in others)


@pytest.mark.parametrize("user", ["system:node:n2", "n1", "system:bootstrap:abcdef", "x:n1"])
def test_a_node_gets_no_certificate_of_another(user: str) -> None:
    world = World()
    world.register("n1", "m1", world.ask("n1").status.certificate)
    assert "only the node itself" in verdict(renew(world, "n1", user))


def test_a_request_of_a_node_that_was_revoked_since_is_refused() -> None:
    world = World()
    world.register("n1", "m1", world.ask("n1").status.certificate)
    node = world.get(Node, "n1", "")
    node.metadata.annotations[NODE_CERTIFICATE] = REVOKED
    world.put(codec.decode_plain(codec.encode(node)))
    assert "was revoked" in verdict(renew(world, "n1"))


def test_a_node_that_says_no_machine_is_nobodys() -> None:
    world = World()
    world.register("n1", "", world.ask("n1").status.certificate)
    assert "is another machine" in verdict(world.ask("n1", ""))


def test_who_has_no_token_gets_nothing() -> None:
    assert "holder of a join token" in verdict(World().ask("n1", groups=("system:masters",)))


@pytest.mark.parametrize("name", ["x" * 53, "../../x", "a\nb", "a\0b", "A", "a b", "-a", "a/b"])
def test_a_name_that_no_node_can_have_is_refused_with_a_reason(name: str) -> None:
    """It would be a traceback each time, or a key beside the others."""
    try:
        made = World().ask(name)
    except ValueError:  # what cryptography itself puts into no request
        return
    assert "lower case host name" in verdict(made)


def test_the_longest_name_of_a_node_gets_its_certificate() -> None:
    assert verdict(World().ask("x" * 52)) == "approved"
