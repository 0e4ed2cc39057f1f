"""CertificateSigningRequests: what may be asked for, and who decides in which way."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from common.api.types.rbac_v1 import Subject
from common.security.ca import CertificateAuthority
from common.security.csr import make_key, make_request
from common.security.identity import Identity
from master.apiserver.admission.plugins.certificate_signing import CertificateSigning
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.registry import Registry
from master.apiserver.request.bodies import Body
from master.apiserver.request.context import Context
from master.apiserver.request.mediatypes import MERGE_PATCH
from master.apiserver.request.patches import Patch
from master.apiserver.request.target import Target
from master.apiserver.resources.certificates.certificatesigningrequest import Approval
from tests.fakes import registry as fakes
from tests.fakes.clock import FakeClock
from tests.fakes.roles import USER, authorizer, binding, role, rule
from tests.unit.apiserver.conftest import Writer
from tests.unit.apiserver.request.test_patches import refused, resource

KIND = "certificatesigningrequests.certificates.k8s.io"
REQUESTS = resource("certificates.k8s.io", "v1", "certificatesigningrequests")
PEM = make_request(make_key(), "jane")
APPROVERS = authorizer(
    role("all", rule("approve", "signers", "certificates.k8s.io", "example.com/*")),
    role("other", rule("approve", "signers", "certificates.k8s.io", "example.com/client")),
    binding("b", "ClusterRole", "all", USER),
    binding("c", "ClusterRole", "other", Subject(kind="User", name="tom")),
)
CTX = Context(user=Identity("admin", ("system:masters",)))
NOW = "2030-01-01T00:00:00Z"


def request(**spec: Any) -> dict[str, Any]:
    """A request that is in order, but for `spec`."""
    plain = {
        "request": base64.b64encode(PEM).decode(),
        "signerName": "example.com/serving",
        "usages": ["client auth"],
    }
    return {"metadata": {"name": "r"}, "spec": {**plain, **spec}}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, None),
        ({"expirationSeconds": 600}, None),
        ({"expirationSeconds": 5}, "spec.expirationSeconds: Invalid value: 5: may not specify a "),
        ({"request": encoded(b"x")}, "spec.request: Invalid value: "),
        ({"request": ""}, "spec.request: Invalid value: "),
        ({"request": encoded(PEM[:100])}, "spec.request: Invalid value: "),
        ({"request": encoded(b"a" * 20000)}, "spec.request: Too long: "),
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["fun"]}, 'spec.usages[0]: Unsupported value: "fun": supported values: "any"'),
        ({"usages": ["any", "any"]}, 'spec.usages[1]: Duplicate value: "any"'),
        ({"signerName": ""}, "spec.signerName: Required value"),
        (
            {"signerName": "kubernetes.io/legacy-unknown"},
            "spec.signerName: Invalid value: "
            '"kubernetes.io/legacy-unknown": the legacy signerName is not allowed',
        ),
        ({"signerName": "serving"}, 'spec.signerName: Invalid value: "serving": must be a fully'),
        ({"signerName": "a.b/c/d"}, 'spec.signerName: Invalid value: "a.b/c/d": must be a fully'),
        ({"signerName": "a/b"}, 'spec.signerName: Invalid value: "a": should be a domain with'),
        ({"signerName": "a.b/C"}, 'spec.signerName: Invalid value: "C": validating label "C"'),
    ],
)
def test_what_may_be_asked_for(writer: Writer, spec: dict[str, Any], problem: str | None) -> None:
    found = writer.create_problems(KIND, request(**spec))
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(problem), found


def test_a_request_signed_with_another_key(writer: Writer) -> None:
    der = bytearray(base64.b64decode(b"".join(PEM.splitlines()[1:-1])))
    der[-1] ^= 1
    forged = b"-----BEGIN CERTIFICATE REQUEST-----\n%b\n-----END CERTIFICATE REQUEST-----\n"
    (found,) = writer.create_problems(
        KIND, request(request=encoded(forged % base64.b64encode(der)))
    )
    assert found.startswith("spec.request: Invalid value")


@pytest.fixture
async def registry(pipeline: Pipeline) -> Registry:
    """The registry with the request `r`."""
    made = fakes.registry(pipeline, subresources={"approval": Approval(pipeline, APPROVERS)})
    await made.create(CTX, Target(REQUESTS), Body(json.dumps(request()).encode()))
    return made


def condition(kind: str, status: str = "True", **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


async def patch(registry: Registry, sub: str, ctx: Context | None = None, **change: Any) -> Any:
    wanted = Patch(json.dumps(change).encode(), MERGE_PATCH)
    return json.loads(await registry.patch(ctx or CTX, Target(REQUESTS, "", "r", sub), wanted))


async def test_an_approval_gets_its_times(registry: Registry) -> None:
    found = await patch(registry, "approval", status={"conditions": [condition("Approved")]})
    (made,) = found["status"]["conditions"]
    assert (made["lastUpdateTime"], made["lastTransitionTime"]) == (NOW, NOW)
    assert found["spec"]["username"] == "admin"


async def test_a_decision_needs_a_right_on_the_signer(registry: Registry) -> None:
    """Beside that on the subresource; a domain's signers may be given together."""
    decision = {"conditions": [condition("Approved")]}
    tom, bob = (Context(user=Identity(name)) for name in ("tom", "bob"))
    error = await refused(patch(registry, "approval", ctx=tom, status=decision))
    assert (error.code, error.message) == (
        403,
        'certificatesigningrequests.certificates.k8s.io "r" is forbidden: user not permitted to '
        'approve requests with signerName "example.com/serving"',
    )
    found = await patch(registry, "approval", ctx=bob, status=decision)
    assert found["status"]["conditions"][0]["type"] == "Approved"


async def test_metadata_may_come_with_an_approval_and_with_a_status(registry: Registry) -> None:
    for sub in ("approval", "status"):
        metadata = {"annotations": {sub: "applied"}}
        conditions = [condition("Done", "False")]
        found = await patch(registry, sub, metadata=metadata, status={"conditions": conditions})
        assert found["metadata"]["annotations"][sub] == "applied"
        assert found["status"]["conditions"][0]["type"] == "Done"
    metadata = {"annotations": {"a b": ""}}
    assert (await refused(patch(registry, "approval", metadata=metadata))).code == 422


@pytest.mark.parametrize(
    ("conditions", "problem"),
    [
        ([], 'updates may not remove a condition of type "Approved"'),
        ([condition("Denied")], 'updates may not remove a condition of type "Approved"'),
        (
            [condition("Approved"), condition("Denied")],
            "Approved and Denied conditions are mutually exclusive",
        ),
        ([condition("Approved"), condition("")], "conditions[1].type: Required value"),
        ([condition("Approved", "False")], 'Unsupported value: "False"'),
        ([condition("Approved"), condition("A", "Maybe")], 'Unsupported value: "Maybe"'),
        ([condition("Approved"), condition("Approved")], 'Duplicate value: "Approved"'),
    ],
)
async def test_a_decision_lasts(
    registry: Registry, conditions: list[dict[str, str]], problem: str
) -> None:
    await patch(registry, "approval", status={"conditions": [condition("Approved")]})
    error = await refused(patch(registry, "approval", status={"conditions": conditions}))
    assert (error.code, problem in error.message) == (422, True), error.message
    if conditions != [condition("Approved", "False")]:
        error = await refused(patch(registry, "status", status={"conditions": conditions}))
        assert error.code == 422


async def test_a_status_says_a_decision_again_but_does_not_change_it(registry: Registry) -> None:
    decided = condition("Approved", message="by hand")
    await patch(registry, "approval", status={"conditions": [decided]})
    again = [condition("Failed"), condition("Approved", "False", message="no")]
    found = await patch(registry, "status", status={"conditions": again})
    said = [(c["type"], c["status"], c.get("message")) for c in found["status"]["conditions"]]
    assert said == [("Failed", "True", None), ("Approved", "True", "by hand")]


async def test_a_status_decides_nothing(registry: Registry) -> None:
    decided = {"conditions": [condition("Approved")]}
    error = await refused(patch(registry, "status", status=decided))
    assert error.code == 422
    assert 'updates may not add a condition of type "Approved"' in error.message
    signer = Context(user=Identity("system:serviceaccount:kube-system:certificate-controller"))
    await patch(registry, "status", signer, status=decided)


async def test_a_decision_about_another_state_is_a_conflict(registry: Registry) -> None:
    old = json.loads(await registry.get(Target(REQUESTS, "", "r", "approval")))
    await patch(registry, "approval", status={"conditions": [condition("Denied")]})
    old["status"] = {"conditions": [condition("Approved")]}
    change = Body(json.dumps(old).encode())
    error = await refused(registry.update(CTX, Target(REQUESTS, "", "r", "approval"), change))
    assert error.code == 409
    metadata = {"resourceVersion": old["metadata"]["resourceVersion"]}
    conditions = [condition("Denied"), condition("Other")]
    late = patch(registry, "approval", metadata=metadata, status={"conditions": conditions})
    assert (await refused(late)).code == 409


@pytest.mark.parametrize(
    ("certificate", "problem"),
    [
        (PEM, 'only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE REQUEST"'),
        (b"x", "must contain at least one CERTIFICATE PEM block"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", ""),
        (
            b"-----BEGIN CERTIFICATE-----\nA: b\n\nAAAA\n-----END CERTIFICATE-----\n",
            "no PEM block headers are permitted",
        ),
    ],
)
async def test_a_certificate_is_one(registry: Registry, certificate: bytes, problem: str) -> None:
    error = await refused(patch(registry, "status", status={"certificate": encoded(certificate)}))
    assert error.code == 422
    text = f'status.certificate: Invalid value: "<certificate data>": {problem}'
    assert text in error.message


@pytest.mark.parametrize(
    ("user", "allowed"),
    [
        ("signer", True),
        ("jane", False),
        ("system:serviceaccount:kube-system:certificate-controller", False),
    ],
)
async def test_who_signs_has_the_verb_sign_on_the_signer(
    writer: Writer, user: str, allowed: bool
) -> None:
    who = Subject(kind="User", name="signer")
    admit = CertificateSigning(
        authorizer(
            role("signing", rule("sign", "signers", "certificates.k8s.io", "example.com/*")),
            binding("b", "ClusterRole", "signing", who),
        )
    )
    old, new = (writer.create(KIND, request()) for _ in range(2))
    new.status.certificate = b"x"
    ctx, target = Context(user=Identity(user)), Target(REQUESTS, "", "r", "status")
    if allowed:
        await admit(ctx, target, new, old)
        return
    error = await refused(admit(ctx, target, new, old))
    assert error.code == 403
    assert 'user not permitted to sign requests with signerName "example.com/' in error.message


async def test_a_certificate_is_issued_once(registry: Registry) -> None:
    first, other = (
        encoded(CertificateAuthority.create(name, FakeClock()).certificate_pem)
        for name in ("a", "b")
    )
    await patch(registry, "status", status={"certificate": first})
    error = await refused(patch(registry, "status", status={"certificate": other}))
    assert "updates may not modify existing certificate content" in error.message
