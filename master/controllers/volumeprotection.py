"""Lets claims and volumes go once nobody uses them: until then a finalizer holds them.

Source: pkg/controller/volume/{pvcprotection,pvprotection} of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

from common.api.resource import Resource
from common.api.types.core_v1 import Pod
from common.api.types.meta_v1 import PartialObjectMetadata
from common.api.wellknown import PV_PROTECTION, PVC_PROTECTION
from common.client.commands import Command, Patch
from common.client.informer import Item
from master.controllers.base import View

CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"
FINALIZERS = {CLAIMS: PVC_PROTECTION, VOLUMES: PV_PROTECTION}


class VolumeProtectionController:
    """A key is `resource:key`. A pod that is on a node uses its claims until it is gone."""

    name: ClassVar[str] = "volumeprotection"
    account: ClassVar[str] = "volume-protection-controller"
    watches: ClassVar[Sequence[str]] = (CLAIMS, VOLUMES, "pods")

    def keys(
        self, view: View, resource: Resource, old: Item | None, new: Item | None
    ) -> Iterable[str]:
        """What is being deleted; when a pod has gone, the claims beside it that are."""
        if resource.plural in FINALIZERS:
            return [f"{resource.plural}:{new.key}"] if new is not None and new.deleting else []
        if new is not None or old is None:
            return []
        claims = view[CLAIMS].list(old.namespace)
        return [f"{CLAIMS}:{claim.key}" for claim in claims if claim.deleting]

    def reconcile(self, key: str, view: View, now: datetime) -> list[Command]:
        """Take the finalizer away from what is deleted and not in use."""
        plural, _, rest = key.partition(":")
        item = view[plural].by_key(rest)
        if item is None or not item.deleting or _in_use(plural, item, view):
            return []
        finalizers = item.decode(PartialObjectMetadata).metadata.finalizers
        if FINALIZERS[plural] not in finalizers:
            return []
        kept = [name for name in finalizers if name != FINALIZERS[plural]]
        return [
            Patch(
                resource=view[plural].resource,
                namespace=item.namespace,
                name=item.name,
                patch={"metadata": {**item.pin, "finalizers": kept}},
                reason=f"{item.key} is not in use",
            )
        ]


def _in_use(plural: str, item: Item, view: View) -> bool:
    if plural == VOLUMES:
        return item.phase == "Bound"
    return any(
        volume.persistentVolumeClaim is not None
        and volume.persistentVolumeClaim.claimName == item.name
        for pod in view["pods"].list(item.namespace)
        if pod.node
        for volume in pod.decode(Pod).spec.volumes
    )
