"""Kubeconfigs: the record says of each certificate what was handed out."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import pytest

from common.api.types.certificates_v1 import CertificateSigningRequest
from common.api.types.core_v1 import Secret
from common.api.wellknown import CLIENT_SIGNER, MASTERS, NODES_GROUP
from common.client.commands import Update
from common.client.informer import Item
from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority, serial_of
from common.security.csr import make_key, make_request
from common.security.identity import identity_from_pem
from common.security.kubeconfigs import GROUP, NAME_PREFIX, NAMESPACE, SERIAL, SIGNER
from master.controllers.certificates.kubeconfigs import KubeconfigController
from tests.unit.controllers.sim import Cluster

Spec = dict[str, object]
AUTHORITY = CertificateAuthority.create("test", SystemClock())


def asked(world: Cluster, spec: Spec, *conditions: str) -> Item:
    """A request with these conditions."""
    return world.put(
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": "mia-1"},
            "spec": spec,
            "status": {"conditions": [{"type": kind, "status": "True"} for kind in conditions]},
        }
    )


def for_a_client(name: str = "mia", *groups: str, usages: Sequence[str] = ("client auth",)) -> Spec:
    """What Kubernetes' signer of clients is asked for, by somebody."""
    pem = make_request(make_key(), name, groups)
    request = base64.b64encode(pem).decode()
    return {"request": request, "signerName": CLIENT_SIGNER, "usages": [*usages]}


@pytest.mark.parametrize("conditions", [(), ("Denied",), ("Approved", "Failed")])
def test_what_nobody_has_approved_is_not_signed(conditions: Sequence[str]) -> None:
    world, controller = Cluster(), KubeconfigController(AUTHORITY.sign_request)
    made = asked(world, for_a_client(), *conditions)
    assert world.reconcile(controller, made.key) == []


def test_what_was_approved_is_signed_and_recorded_once() -> None:
    world, controller = Cluster(), KubeconfigController(AUTHORITY.sign_request)
    usages = ("digital signature", "client auth")
    made = asked(world, for_a_client("mia", "viewers", usages=usages), "Approved")
    world.reconcile(controller, made.key)
    status = world.get(CertificateSigningRequest, made.name, "").status
    assert [one.type for one in status.conditions] == ["Approved"]
    identity = identity_from_pem(status.certificate)
    assert (identity.user, set(identity.groups)) == ("mia", {GROUP, "viewers"})
    record = world.get(Secret, f"{NAME_PREFIX}mia", NAMESPACE)
    assert record.data[SERIAL] == serial_of(status.certificate).encode()
    assert world.reconcile(controller, made.key) == []


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (for_a_client("mia", MASTERS), "gives nobody the group system:masters"),
        (for_a_client("mia", NODES_GROUP), "gives nobody the group system:nodes"),
        (for_a_client("system:admin"), "the common name must be a lower case name"),
        (for_a_client(usages=("server auth", "client auth")), "usages must be client auth, among"),
        (for_a_client(usages=("digital signature",)), "usages must be client auth, among"),
    ],
)
def test_what_the_signer_of_clients_gives_nobody_fails(spec: Spec, why: str) -> None:
    world, controller = Cluster(), KubeconfigController(AUTHORITY.sign_request)
    made = asked(world, spec, "Approved")
    world.reconcile(controller, made.key)
    status = world.get(CertificateSigningRequest, made.name, "").status
    assert [one.type for one in status.conditions] == ["Approved", "Failed"]
    assert status.conditions[1].reason == "SignerValidationFailure"
    assert why in status.conditions[1].message
    assert not status.certificate
    assert world.reconcile(controller, made.key) == []


@pytest.mark.parametrize("done", range(3))
def test_who_decides_again_hands_out_the_certificate_that_is_recorded(done: int) -> None:
    """The outcome of a write was not known: so many of them had been done."""
    world, controller = Cluster(), KubeconfigController(AUTHORITY.sign_request)
    pem = make_request(make_key(), "mia", (MASTERS,))
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": SIGNER,
        "usages": ["client auth"],
        "groups": [MASTERS],
    }
    made = world.put(
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": "kubeconfig-mia-1"},
            "spec": spec,
        }
    )
    first = controller.reconcile(made.key, world.view, world.now)
    for command in first[:done]:
        world.carry_out(command)
    world.reconcile(controller, made.key)
    given = world.get(CertificateSigningRequest, made.name, "").status.certificate
    assert isinstance(first[-1], Update)
    assert given == first[-1].body.status.certificate
    record = world.get(Secret, f"{NAME_PREFIX}mia", NAMESPACE)
    assert record.data[SERIAL] == serial_of(given).encode()
