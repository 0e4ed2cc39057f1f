"""The registry of a master: how objects of every kind are read and written."""

from __future__ import annotations

from typing import Any, NamedTuple

from common.api.scheme import SCHEME
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from common.runtime.rng import Rng
from master.apiserver.admission.chain import admission
from master.apiserver.auth.authenticator import Authenticator
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.serviceaccounts import ServiceAccounts
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.reads import Reads
from master.apiserver.registry.registry import Registry
from master.apiserver.resources.apps.scale import ScaleSubresource
from master.apiserver.resources.authentication.tokenreview import TokenReviews
from master.apiserver.resources.authorization.reviews import reviews
from master.apiserver.resources.certificates.certificatesigningrequest import Approval
from master.apiserver.resources.coordination.lease import LeaseView
from master.apiserver.resources.core.event import EventView
from master.apiserver.resources.core.namespace.finalize import Finalize
from master.apiserver.resources.core.pod.binding import BindingSubresource
from master.apiserver.resources.core.tokenrequest import TokenSubresource
from master.apiserver.resources.metrics.metrics import NodeMetricsView, PodMetricsView, labels_in
from master.apiserver.resources.strategies import strategies
from master.config import MasterConfig
from master.storage.store import Store
from master.storage.watchcache import WatchCache


class Tokens(NamedTuple):
    """Who knows the tokens of service accounts, and who knows all credentials."""

    accounts: ServiceAccounts
    authenticator: Authenticator


class Reported(NamedTuple):
    """The heartbeats and the usage of nodes, by their names."""

    heartbeats: dict[str, float]
    usages: dict[str, Any]


def pipeline(
    config: MasterConfig,
    store: Store,
    cache: WatchCache,
    authorizer: Authorizer,
    *,
    clock: Clock,
    rng: Rng,
) -> Pipeline:
    """How objects of every kind are written."""
    return Pipeline(
        store=store,
        cache=cache,
        scheme=SCHEME,
        strategies=strategies(
            SCHEME, cluster_cidr=config.cluster_cidr, service_cidr=config.service_cidr, clock=clock
        ),
        admission=admission(
            cache, SCHEME, clock, rng, authorizer, allow_external_ips=config.allow_external_ips
        ),
        clock=clock,
        rng=rng,
        offload=Offload(threads=1, name="heavy"),
    )


def registry(
    config: MasterConfig,
    store: Store,
    cache: WatchCache,
    authorizer: Authorizer,
    tokens: Tokens,
    reported: Reported,
    *,
    clock: Clock,
    rng: Rng,
) -> Registry:
    """Every resource. What nodes have reported is shown and not stored."""
    written = pipeline(config, store, cache, authorizer, clock=clock, rng=rng)
    return Registry(
        written,
        Reads(store, cache),
        subresources={
            "scale": ScaleSubresource(written),
            "binding": BindingSubresource(written),
            "finalize": Finalize(written),
            "approval": Approval(written, authorizer),
            "token": TokenSubresource(written, tokens.accounts.key),
        },
        computed={
            "nodes.metrics.k8s.io": NodeMetricsView(
                lambda: reported.usages, labels_in(cache, "nodes")
            ),
            "pods.metrics.k8s.io": PodMetricsView(
                lambda: reported.usages, labels_in(cache, "pods")
            ),
        },
        views={
            "events.events.k8s.io": EventView(SCHEME.require("", "v1", "events")),
            "leases.coordination.k8s.io": LeaseView(
                SCHEME.require("coordination.k8s.io", "v1", "leases"), reported.heartbeats
            ),
        },
        reviews={
            **reviews(authorizer),
            "tokenreviews.authentication.k8s.io": TokenReviews(*tokens),
        },
    )
