"""The admission steps, by phase and in the order in which they run."""

from __future__ import annotations

from common.api.scheme import Scheme
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from master.apiserver.admission.plugins.certificate_requester import CertificateRequester
from master.apiserver.admission.plugins.certificate_signing import CertificateSigning
from master.apiserver.admission.plugins.certificate_subject import certificate_subject
from master.apiserver.admission.plugins.default_tolerations import default_tolerations
from master.apiserver.admission.plugins.endpoint_addresses import EndpointAddresses
from master.apiserver.admission.plugins.external_ips import deny_external_ips
from master.apiserver.admission.plugins.namespace_lifecycle import NamespaceLifecycle
from master.apiserver.admission.plugins.node_restriction import node_restriction
from master.apiserver.admission.plugins.pod_security import PodSecurity
from master.apiserver.admission.plugins.priority import priority
from master.apiserver.admission.plugins.rbac_escalation import RbacEscalation
from master.apiserver.admission.plugins.runtime_class import PodRuntimeClass
from master.apiserver.admission.plugins.service_account import PodServiceAccount
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.registry.admission import Admission
from master.storage.watchcache import WatchCache


def admission(
    cache: WatchCache,
    scheme: Scheme,
    clock: Clock,
    rng: Rng,
    authorizer: Authorizer,
    *,
    allow_external_ips: bool = False,
) -> Admission:
    """Every step; what is missing altogether is said before what is wrong in detail."""
    return Admission(
        mutating=[
            NamespaceLifecycle(cache, scheme),
            node_restriction,
            PodServiceAccount(cache, rng),
            default_tolerations,
            priority,
            PodRuntimeClass(cache),
            CertificateRequester(clock),
        ],
        validating=[
            certificate_subject,
            CertificateSigning(authorizer),
            EndpointAddresses(cache),
            RbacEscalation(authorizer, scheme),
            PodSecurity(cache),
            *([] if allow_external_ips else [deny_external_ips]),
        ],
    )
