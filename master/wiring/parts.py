"""The parts of a master that run by themselves, each for as long as the master does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from common.client.events import Correlator, EventRecorder
from common.client.informer import Informer
from common.client.informers import Informers
from common.runtime.clock import Clock
from common.runtime.memory import CycleCollector, MemoryTrimmer
from common.runtime.parts import Part
from common.runtime.rng import Rng
from common.runtime.stalls import StallWatch
from common.security.identity import Identity
from master.apiserver.local import LocalClient
from master.config import MasterConfig
from master.controllers.accounttokens import AccountTokenController
from master.controllers.base import ControllerRunner
from master.controllers.namespaces.rootca import RootCaController
from master.controllers.nodes.heartbeats import NodeHeartbeats
from master.controllers.registry import ClusterFacts
from master.controllers.registry import controllers as all_controllers
from master.nodes.hub import NodeHub
from master.pki.pki import Pki
from master.pki.renewal import Renewable, RenewalLoop
from master.scheduler.own.process import OwnScheduler
from master.scheduler.service import OwnLane, Scheduler
from master.storage.compactor import Compactor
from master.storage.store import Store
from master.wiring import components

log = logging.getLogger(__name__)
_GIVE_OUT_AUTHORITIES = (AccountTokenController.name, RootCaController.name)
ClientOf = Callable[[Identity], LocalClient]
"""The client of a part."""


class Recorders:
    """The recorders of events, one for each component that asks for one."""

    def __init__(self, client_of: ClientOf, clock: Clock) -> None:
        self._client_of = client_of
        self._clock = clock
        self._made: dict[str, EventRecorder] = {}

    def __call__(self, component: str, user: Identity) -> EventRecorder:
        """The recorder of a component, which writes as that user."""
        if component not in self._made:
            client = self._client_of(user)
            made = EventRecorder(client, Correlator(component), clock=self._clock)
            self._made[component] = made
        return self._made[component]

    def parts(self) -> list[Part]:
        """A part for each; those that are asked for later do not run."""
        return [Part(f"events of {name}", made.run) for name, made in self._made.items()]


def housekeeping(store: Store, clock: Clock) -> list[Part]:
    """The parts that look after the store's history and after this process."""
    return [
        Part("compactor", Compactor(store, clock).run),
        Part("memory", MemoryTrimmer(clock).run),
        Part("garbage", CycleCollector(clock).run),
        Part("stall watch", StallWatch().run),
    ]


def renewals(certificates: Iterable[Renewable], clock: Clock) -> list[Part]:
    """A part for each certificate, or set of them, that must be renewed."""
    return [
        Part(f"certificates of {one.name}", RenewalLoop(one, clock).run) for one in certificates
    ]


def informing(informers: Informers) -> list[Part]:
    """A part for each informer that there is, and one for those that come later."""
    first = [Part(f"informer {name}", one.run, essential=True) for name, one in informers.items()]
    return [*first, Part("informers of later resources", informers.run_later, essential=True)]


def scheduler(
    config: MasterConfig,
    client_of: ClientOf,
    informers: Mapping[str, Informer],
    recorder: Recorders,
    clock: Clock,
) -> Part:
    """The scheduler, with the user's own beside it if there is one."""
    client = client_of(components.SCHEDULER)
    own = _own_scheduler(config, recorder, clock)
    events = recorder("default-scheduler", components.SCHEDULER)
    return Part("scheduler", Scheduler(client, informers, events, clock=clock, own=own).run)


def controllers(
    config: MasterConfig,
    pki: Pki,
    client_of: ClientOf,
    informers: Informers,
    hub: NodeHub,
    recorder: Recorders,
    *,
    clock: Clock,
    rng: Rng,
) -> list[Part]:
    """A part for each controller that is not switched off."""
    parts = []
    facts = ClusterFacts(
        ca_pem=lambda: pki.server_ca.trusted,
        address=config.advertise_address,
        port=config.secure_port,
        service_address=config.api_service_address,
    )
    signs = NodeHeartbeats(hub.silence_seconds, hub.heartbeats, clock.monotonic)
    for controller in all_controllers(facts, pki, pki.account_keys.issue_legacy, signs):
        if controller.name not in config.disable_controllers:
            user = components.controller(controller.account)
            runner = ControllerRunner(
                controller,
                informers,
                client_of(user),
                recorder(f"{controller.name}-controller", user),
                clock=clock,
                rng=rng,
            )
            parts.append(Part(f"controller {controller.name}", runner.run))
            if controller.name in _GIVE_OUT_AUTHORITIES:
                pki.watch(runner.again)
    return parts


def _own_scheduler(config: MasterConfig, recorder: Recorders, clock: Clock) -> OwnLane | None:
    """The user's own scheduler, if one is configured."""
    if not config.scheduler_file:
        return None
    name, seconds = config.scheduler_file_name, config.scheduler_file_seconds
    scheduler = OwnScheduler(config.scheduler_file, seconds, clock=clock)
    return OwnLane(name=name, scheduler=scheduler, recorder=recorder(name, components.SCHEDULER))
