"""Kubeconfigs: the record says of each certificate what was handed out."""

from __future__ import annotations

import base64

import pytest

from common.api.types.certificates_v1 import CertificateSigningRequest
from common.api.types.core_v1 import Secret
from common.api.wellknown import MASTERS
from common.client.commands import Update
from common.runtime.clock import SystemClock
from common.security.ca import CertificateAuthority, serial_of
from common.security.csr import make_key, make_request
from common.security.kubeconfigs import NAME_PREFIX, NAMESPACE, SERIAL, SIGNER
from master.controllers.certificates.kubeconfigs import KubeconfigController
from tests.unit.controllers.sim import Cluster

AUTHORITY = CertificateAuthority.create("test", SystemClock())


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
