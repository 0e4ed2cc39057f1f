"""What may stand in a CertificateSigningRequest. Pure.

Source: k8s.io/kubernetes pkg/apis/certificates/validation and pkg/registry/certificates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from cryptography import x509

from common.api import errors, names
from common.api.types.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
)
from common.security.ca import CertificateError
from common.security.csr import check_request
from master.apiserver.resources.lib.checks import Findings

REQUEST_MAX_BYTES = 16 << 10
LIFE_MIN_SECONDS = 600
SIGNER_MAX_CHARACTERS = 571
DECISIONS = ("Approved", "Denied")
_LASTING = (*DECISIONS, "Failed")
_STATUSES = ("False", "True", "Unknown")
_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_BLOCK = re.compile(rb"^-----BEGIN ([^\n]*?)-----\s*$(?:\n[!-9;-~]+:(?P<header>))?", re.MULTILINE)

Conditions = Sequence[CertificateSigningRequestCondition]


def validate_spec(spec: CertificateSigningRequestSpec) -> Findings:
    """A signed PKCS #10 request, what its certificate is for, who signs it, how long it lives."""
    yield from _request(spec.request)
    if not spec.usages:
        yield errors.required("spec.usages")
    for number, usage in enumerate(spec.usages):
        if usage not in _USAGES:
            yield errors.not_supported(f"spec.usages[{number}]", usage, _USAGES)
    for number, usage in enumerate(spec.usages):
        if usage in spec.usages[:number]:
            yield errors.duplicate(f"spec.usages[{number}]", usage)
    yield from _signer("spec.signerName", spec.signerName)
    seconds = spec.expirationSeconds
    if seconds is not None and seconds < LIFE_MIN_SECONDS:
        text = "may not specify a duration less than 600 seconds (10 minutes)"
        yield errors.invalid("spec.expirationSeconds", seconds, text)


def _request(pem: bytes) -> Findings:
    path = "spec.request"
    if len(pem) > REQUEST_MAX_BYTES:
        yield errors.too_long(path, REQUEST_MAX_BYTES)
        return
    block = _BLOCK.search(pem)
    if block is None or block[1] != b"CERTIFICATE REQUEST":
        yield errors.invalid(path, _shown(pem), "PEM block type must be CERTIFICATE REQUEST")
        return
    try:
        check_request(pem)
    except CertificateError as error:
        yield errors.invalid(path, _shown(pem), str(error))


def _shown(data: bytes) -> str:
    return data[:64].decode(errors="replace")


def _signer(path: str, signer: str) -> Findings:
    """A domain and a path of dot-separated parts, such as `example.com/my.signer`."""
    if not signer:
        yield errors.required(path)
        return
    if signer == "kubernetes.io/legacy-unknown":
        text = "the legacy signerName is not allowed via this API version"
        yield errors.invalid(path, signer, text)
        return
    domain, slash, rest = signer.partition("/")
    if not slash or "/" in rest:
        text = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        yield errors.invalid(path, signer, text)
        return
    if len(domain) > names.SUBDOMAIN_MAX:
        yield errors.too_long(path, names.SUBDOMAIN_MAX)
    for label in domain.split("."):
        for problem in names.dns_label(label):
            yield errors.invalid(path, domain, f'validating label "{label}": {problem}')
    if "." not in domain:
        text = "should be a domain with at least two segments separated by dots"
        yield errors.invalid(path, domain, text)
    for part in rest.split("."):
        for problem in names.dns_subdomain(part):
            yield errors.invalid(path, rest, f'validating label "{part}": {problem}')
    if len(signer) > SIGNER_MAX_CHARACTERS:
        yield errors.too_long(path, SIGNER_MAX_CHARACTERS)


def validate_status(new: CertificateSigningRequest, old: CertificateSigningRequest) -> Findings:
    """Conditions that may stand together, decisions that stay, a certificate that is one."""
    yield from _conditions(new.status.conditions)
    for kind in _LASTING:
        if len(_of(new, kind)) < len(_of(old, kind)):
            text = f'updates may not remove a condition of type "{kind}"'
            yield errors.forbidden("status.conditions", text)
    yield from _certificate(new.status, old.status)


def _conditions(conditions: Conditions) -> Findings:
    seen: set[str] = set()
    for number, condition in enumerate(conditions):
        path, kind = f"status.conditions[{number}]", condition.type
        if not kind:
            yield errors.required(f"{path}.type")
        allowed = ("True",) if kind in _LASTING else _STATUSES
        if not condition.status:
            yield errors.required(f"{path}.status")
        elif condition.status not in allowed:
            yield errors.not_supported(f"{path}.status", condition.status, allowed)
        if kind in DECISIONS and seen.intersection(DECISIONS) - {kind}:
            text = "Approved and Denied conditions are mutually exclusive"
            yield errors.invalid("status.conditions", kind, text)
        if kind in seen:
            yield errors.duplicate(f"{path}.type", kind)
        seen.add(kind)


def _certificate(
    new: CertificateSigningRequestStatus, old: CertificateSigningRequestStatus
) -> Findings:
    if new.certificate == old.certificate:
        return
    if old.certificate:
        text = "updates may not modify existing certificate content"
        yield errors.forbidden("status.certificate", text)
    problem = _certificate_problem(new.certificate) if new.certificate else ""
    if problem:
        yield errors.invalid("status.certificate", "<certificate data>", problem)


def _certificate_problem(pem: bytes) -> str:
    blocks = list(_BLOCK.finditer(pem))
    if not blocks:
        return "must contain at least one CERTIFICATE PEM block"
    for block in blocks:
        if block[1] != b"CERTIFICATE":
            kind = block[1][:64].decode(errors="replace")
            return f'only CERTIFICATE PEM blocks are allowed, found "{kind}"'
        if block["header"] is not None:
            return "no PEM block headers are permitted"
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return str(error)
    return ""


def _of(request: CertificateSigningRequest, kind: str) -> list[CertificateSigningRequestCondition]:
    return [condition for condition in request.status.conditions if condition.type == kind]


def added_decisions(new: CertificateSigningRequest, old: CertificateSigningRequest) -> Findings:
    """Approved and Denied come by the path `approval`, and by no other."""
    for kind in DECISIONS:
        if len(_of(new, kind)) > len(_of(old, kind)):
            text = f'updates may not add a condition of type "{kind}"'
            yield errors.forbidden("status.conditions", text)


def keep_decisions(new: CertificateSigningRequest, old: CertificateSigningRequest) -> None:
    """What has been decided stays as it is, where a status says it again in other words."""
    for kind in DECISIONS:
        before = _of(old, kind)
        if len(before) == len(_of(new, kind)):
            kept = iter(before)
            new.status.conditions = tuple(
                next(kept) if condition.type == kind else condition
                for condition in new.status.conditions
            )


def stamped(
    conditions: Conditions, former: Conditions, now: str
) -> tuple[CertificateSigningRequestCondition, ...]:
    """The conditions with the times that their writer left out; a transition is one of status."""
    known = {(c.type, c.status): c.lastTransitionTime for c in former}
    return tuple(
        msgspec.structs.replace(
            condition,
            lastUpdateTime=condition.lastUpdateTime or now,
            lastTransitionTime=condition.lastTransitionTime
            or known.get((condition.type, condition.status))
            or now,
        )
        for condition in conditions
    )
