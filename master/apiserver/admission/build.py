"""The admission steps in the order in which they run."""

from __future__ import annotations

from common.api.scheme import Scheme
from common.runtime.clock import Clock
from master.apiserver.admission.certificate_requester import CertificateRequester
from master.apiserver.admission.default_tolerations import default_tolerations
from master.apiserver.admission.endpoint_addresses import EndpointAddresses
from master.apiserver.admission.external_ips import deny_external_ips
from master.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from master.apiserver.admission.priority import priority
from master.apiserver.admission.rbac_escalation import RbacEscalation
from master.apiserver.admission.service_account import ServiceAccountExists
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.registry.pipeline import Admit
from master.storage.watchcache import WatchCache


def admission(
    cache: WatchCache,
    scheme: Scheme,
    clock: Clock,
    authorizer: Authorizer,
    *,
    allow_external_ips: bool = False,
) -> list[Admit]:
    """Every step; what is missing altogether is said before what is wrong in detail."""
    return [
        NamespaceLifecycle(cache, scheme),
        ServiceAccountExists(cache),
        default_tolerations,
        priority,
        CertificateRequester(clock),
        EndpointAddresses(cache),
        RbacEscalation(authorizer, scheme),
        *([] if allow_external_ips else [deny_external_ips]),
    ]
