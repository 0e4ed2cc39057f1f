"""What every cluster has: namespaces of the system, default roles and bindings."""

from __future__ import annotations

import asyncio

from common.api.codec import json as codec
from common.api.errors import StatusError
from common.api.resource import Resource
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Namespace, Pod
from common.api.types.meta_v1 import ObjectMeta
from common.api.wellknown import MASTERS, SYSTEM_NAMESPACES
from common.security.identity import Identity
from master.apiserver.auth.authorizers.rbac import GROUP
from master.apiserver.auth.policy import defaults
from master.apiserver.registry.freshness import fresh
from master.apiserver.registry.pipeline import Pipeline
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target

RESOURCES = {
    "Role": "roles",
    "ClusterRole": "clusterroles",
    "RoleBinding": "rolebindings",
    "ClusterRoleBinding": "clusterrolebindings",
}


async def bootstrap(pipeline: Pipeline) -> None:
    """Create what is missing, and complete what was changed.

    The decoder of a Pod is made here, too: it is the largest, and its making would hold up whoever
    asks while the first Pod comes.
    """
    codec.decode_request(b"{}", Pod)
    namespaces = SCHEME.require("", "v1", "namespaces")
    for name in SYSTEM_NAMESPACES:
        await _ensure(pipeline, namespaces, Namespace(metadata=ObjectMeta(name=name)))
    await fresh(pipeline.cache)  # what is made in a namespace needs it there
    async with asyncio.TaskGroup() as tasks:
        for wanted in (*defaults.roles(), *defaults.bindings()):
            resource = SCHEME.require(GROUP, "v1", RESOURCES[type(wanted).__name__])
            tasks.create_task(_ensure(pipeline, resource, wanted))
    await fresh(pipeline.cache)  # the master's own parts have their rights by these roles


def _context() -> Context:
    return Context(user=Identity("system:apiserver", (MASTERS,)))


async def _ensure(
    pipeline: Pipeline, resource: Resource, wanted: Namespace | defaults.Object
) -> None:
    meta = wanted.metadata
    entry = pipeline.cache.get(pipeline.key(Target(resource, meta.namespace, meta.name)))
    if entry is not None:
        if isinstance(wanted, Namespace):
            return
        stored = codec.decode(entry.data, type(wanted))
        if defaults.completed(stored, wanted) is None:
            return
        await pipeline.update(
            _context(),
            Target(resource, meta.namespace, meta.name),
            lambda current: defaults.completed(current, wanted) or current,
        )
        return
    try:
        await pipeline.create(_context(), Target(resource, meta.namespace), wanted)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
