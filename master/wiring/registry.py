"""The registry of a master: how objects of every kind are read and written."""

from __future__ import annotations

from typing import Any, NamedTuple

from common.api.scheme import Scheme
from common.runtime.clock import Clock
from common.runtime.offload import Offload
from common.runtime.rng import Rng
from master.apiserver.admission.chain import admission
from master.apiserver.auth.authenticator import Authenticator
from master.apiserver.auth.authorizer import Authorizer
from master.apiserver.auth.serviceaccounts import ServiceAccounts
from master.apiserver.registry.catalogue import Catalogue
from master.apiserver.registry.computed import Computed, Reviewed
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.registry.reads import Reads
from master.apiserver.registry.registry import Registry
from master.apiserver.registry.stored import Stored
from master.apiserver.registry.strategy import Settings
from master.apiserver.registry.view import Viewed
from master.apiserver.resources.apps.scale import ScaleSubresource
from master.apiserver.resources.authentication.tokenreview import TokenReviews
from master.apiserver.resources.authorization.reviews import reviews
from master.apiserver.resources.catalogue import definitions
from master.apiserver.resources.certificates.certificatesigningrequest import Approval
from master.apiserver.resources.coordination.lease import LeaseView
from master.apiserver.resources.core.event import EventView
from master.apiserver.resources.core.namespace.finalize import Finalize
from master.apiserver.resources.core.pod.binding import BindingSubresource
from master.apiserver.resources.core.pod.ephemeral import EphemeralContainers
from master.apiserver.resources.core.pod.resize import Resize
from master.apiserver.resources.core.tokenrequest import TokenSubresource
from master.apiserver.resources.metrics.metrics import NodeMetricsView, PodMetricsView, labels_in
from master.config import MasterConfig
from master.nodes.commands import PodAttach, PodExec
from master.nodes.images import NodeImages
from master.nodes.logs import PodLogs
from master.nodes.portforward import PodPortForward
from master.nodes.proxies import PodProxy, ServiceProxy
from master.nodes.sessions import NodeSessions
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
    """How objects of every kind are written; its catalogue is still empty."""
    catalogue = Catalogue(Scheme())
    return Pipeline(
        store=store,
        cache=cache,
        catalogue=catalogue,
        admission=admission(
            cache,
            catalogue.scheme,
            clock,
            rng,
            authorizer,
            allow_external_ips=config.allow_external_ips,
        ),
        clock=clock,
        rng=rng,
        offload=Offload(threads=1, name="heavy"),
    )


def registry(
    config: MasterConfig,
    written: Pipeline,
    authorizer: Authorizer,
    tokens: Tokens,
    reported: Reported,
    sessions: NodeSessions,
) -> Registry:
    """Every resource. What nodes have reported is shown and not stored."""
    catalogue = written.catalogue
    stored = Stored(written, Reads(written.store, written.cache, catalogue.fields_of))
    settings = Settings(config.cluster_cidr, config.service_cidr, written.clock)
    questions = {
        **reviews(authorizer),
        "tokenreviews.authentication.k8s.io": TokenReviews(*tokens),
    }
    made = definitions(
        catalogue.scheme,
        settings,
        stored,
        handlers={
            **{name: Reviewed(review, written) for name, review in questions.items()},
            **_figures(written, reported),
            **_views(stored, reported),
        },
        subresources={
            "approval": Approval(written, authorizer),
            "attach": PodAttach(stored, sessions),
            "binding": BindingSubresource(written),
            "ephemeralcontainers": EphemeralContainers(stored),
            "finalize": Finalize(written),
            "exec": PodExec(stored, sessions),
            "nodes/images": NodeImages(stored, sessions),
            "log": PodLogs(stored, sessions, written.clock),
            "pods/proxy": PodProxy(stored, sessions),
            "portforward": PodPortForward(stored, sessions),
            "resize": Resize(stored),
            "scale": ScaleSubresource(written),
            "services/proxy": ServiceProxy(stored, sessions, written.rng),
            "token": TokenSubresource(written, tokens.accounts.keys),
        },
    )
    for definition in made:
        catalogue.add(definition)
    return Registry(written)


def _figures(written: Pipeline, reported: Reported) -> dict[str, Handler]:
    """Usage, with the labels of what it is of."""
    nodes, pods = labels_in(written.cache, "nodes"), labels_in(written.cache, "pods")
    of_nodes = NodeMetricsView(lambda: reported.usages, nodes)
    of_pods = PodMetricsView(lambda: reported.usages, pods)
    return {
        "nodes.metrics.k8s.io": Computed(of_nodes, written),
        "pods.metrics.k8s.io": Computed(of_pods, written),
    }


def _views(stored: Stored, reported: Reported) -> dict[str, Handler]:
    """Events in their newer form, and leases with the heartbeats of nodes."""
    scheme = stored.pipeline.scheme
    events = scheme.require("", "v1", "events")
    leases = scheme.require("coordination.k8s.io", "v1", "leases")
    return {
        "events.events.k8s.io": Viewed(EventView(events), stored),
        leases.group_resource: Viewed(LeaseView(leases, reported.heartbeats), stored),
    }
