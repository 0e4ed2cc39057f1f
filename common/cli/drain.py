"""`wherry cordon|uncordon|drain NODE`: a node gets no new pods, gets them again, is emptied."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.cli.connection import client
from common.cli.credentials.token import duration
from common.client.grpc import GrpcClient

POLL_SECONDS = 0.5
TOO_MANY = 429
"""The answer to an eviction that a PodDisruptionBudget does not allow yet."""


def add_parser(verbs: Any) -> None:
    """Add the arguments of the three verbs."""
    for verb, run, about in (
        ("cordon", run_cordon, "let a node get no new pods"),
        ("uncordon", run_uncordon, "let a node get new pods again"),
        ("drain", run_drain, "cordon a node and move its pods away"),
    ):
        parser = verbs.add_parser(verb, help=about, allow_abbrev=False)
        parser.add_argument("node", help="the node's name")
        parser.set_defaults(run=run)
        if verb == "drain":
            parser.add_argument(
                "--force",
                action="store_true",
                help="delete pods that no controller makes again, too",
            )
            parser.add_argument(
                "--timeout", type=duration, default=duration("5m"), help="default: 5m"
            )


def run_cordon(arguments: argparse.Namespace, **_: object) -> None:
    """Raises StatusError."""
    asyncio.run(_mark(arguments, unschedulable=True))


def run_uncordon(arguments: argparse.Namespace, **_: object) -> None:
    """Raises StatusError."""
    asyncio.run(_mark(arguments, unschedulable=False))


def run_drain(arguments: argparse.Namespace, **_: object) -> None:
    """Return when no pod is left that had to go; raises StatusError and SystemExit."""
    asyncio.run(_drain(arguments))


async def _mark(arguments: argparse.Namespace, *, unschedulable: bool) -> None:
    async with client(arguments) as api:
        await _cordon(api, arguments.node, unschedulable=unschedulable)


async def _cordon(api: GrpcClient, node: str, *, unschedulable: bool) -> None:
    patch = {"spec": {"unschedulable": True if unschedulable else None}}
    await api.patch(api.resource("nodes"), "", node, patch)
    print(f"node/{node} {'cordoned' if unschedulable else 'uncordoned'}", flush=True)


class Pods(NamedTuple):
    """The pods of a node, by what a drain does with them."""

    moved: tuple[Mapping[str, Any], ...]
    bare: tuple[Mapping[str, Any], ...]
    """No controller would make them again."""
    kept: tuple[Mapping[str, Any], ...]
    """A DaemonSet's: it would put them onto this node again."""


def sort(pods: Sequence[Mapping[str, Any]]) -> Pods:
    """What becomes of each pod. One that has ended is nobody's loss."""
    moved, bare, kept = [], [], []
    for pod in pods:
        owners = pod["metadata"].get("ownerReferences", ())
        kinds = [owner["kind"] for owner in owners if owner.get("controller")]
        if kinds == ["DaemonSet"]:
            kept.append(pod)
        elif kinds or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            moved.append(pod)
        else:
            bare.append(pod)
    return Pods(tuple(moved), tuple(bare), tuple(kept))


def name_of(pod: Mapping[str, Any]) -> str:
    """NAMESPACE/NAME."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


async def _drain(arguments: argparse.Namespace) -> None:
    async with client(arguments) as api:
        sorted_pods = sort(await _pods(api, arguments.node))
        if sorted_pods.bare and not arguments.force:
            names = ", ".join(map(name_of, sorted_pods.bare))
            raise SystemExit(
                f"wherry: no controller would make these pods of {arguments.node} again: {names};"
                " --force deletes them"
            )
        await _cordon(api, arguments.node, unschedulable=True)
        for pod in sorted_pods.kept:
            print(f"pod {name_of(pod)} stays: it is a DaemonSet's", flush=True)
        try:
            async with asyncio.timeout(arguments.timeout.total_seconds()):
                await Eviction(api, arguments.node).run()
        except TimeoutError:
            left = sort(await _pods(api, arguments.node))
            names = ", ".join(map(name_of, (*left.moved, *left.bare)))
            raise SystemExit(
                f"wherry: not in time; {arguments.node} is cordoned and has {names}"
            ) from None
        print(f"node/{arguments.node} drained", flush=True)


async def _pods(api: GrpcClient, node: str) -> list[dict[str, Any]]:
    """The pods that are bound to a node. Raises StatusError when there is no such node."""
    await api.get(api.resource("nodes"), "", node)
    listed = await api.list(api.resource("pods"), field_selector=f"spec.nodeName={node}")
    return [codec.decode_plain(data) for data in listed.items]


class Eviction:
    """Asks pods of a node to go, again and again until they are gone, and says so."""

    def __init__(self, api: GrpcClient, node: str) -> None:
        self._api, self._node = api, node
        self._going: set[str] = set()
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Until no pod is left that has to go. Raises StatusError."""
        while True:
            sorted_pods = sort(await _pods(self._api, self._node))
            pods = (*sorted_pods.moved, *sorted_pods.bare)
            here = {pod["metadata"]["uid"] for pod in pods}
            for pod in pods:
                if pod["metadata"]["uid"] not in self._going:
                    await self._evict(pod)
            if not here:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _evict(self, pod: Mapping[str, Any]) -> None:
        """Ask a pod to go; one that a budget keeps is asked again in the next round."""
        name = name_of(pod)
        try:
            await self._ask(pod)
        except StatusError as error:
            if error.code != TOO_MANY:
                raise
            self._say(name, f"waits: {error.message}")
            return
        self._going.add(pod["metadata"]["uid"])
        self._say(name, "is asked to go")

    async def _ask(self, pod: Mapping[str, Any]) -> None:
        """Evict it; where the server knows no evictions, delete it, which is the same without
        PodDisruptionBudgets."""
        meta = pod["metadata"]
        pods = self._api.resource("pods")
        try:
            await self._api.evict(meta["namespace"], meta["name"], uid=meta["uid"])
        except StatusError as error:
            if error.code not in (404, 405):
                raise
            try:
                await self._api.delete(pods, meta["namespace"], meta["name"], uid=meta["uid"])
            except StatusError as gone:
                if gone.code not in (404, 409):
                    raise

    def _say(self, name: str, text: str) -> None:
        if self._told.get(name) != text:
            self._told[name] = text
            print(f"pod {name} {text}", flush=True)
