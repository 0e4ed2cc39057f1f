"""Pods must be within the Pod Security Standard that their namespace names by its labels.

Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from common.api import errors
from common.api.codec import json as codec
from common.api.types.core_v1 import Namespace, Pod, PodSpec
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.admission.podsecurity import policy
from master.apiserver.admission.podsecurity.evaluation import violations
from master.apiserver.admission.podsecurity.policy import Policy, Standard
from master.apiserver.admission.podsecurity.violations import containers
from master.apiserver.request.context import Context
from master.apiserver.request.target import Target
from master.storage.keys import registry_prefix
from master.storage.watchcache import WatchCache

PODS_MAX = 3000
"""Of a namespace that are looked at when its labels change: as many as Kubernetes does."""
AUDIT = "pod-security.kubernetes.io/audit-violations"
_CHECKED = ("", "ephemeralcontainers")
"""Subresources by which what a pod may do can change."""


class PodSecurity:
    """Admission of pods, of whatever makes pods, and of namespaces."""

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache

    async def __call__(self, ctx: Context, target: Target, new: Any, old: Any) -> None:
        """Refuse a pod, or warn of it. Raises StatusError 403, or 422 for labels of a namespace."""
        if target.subresource not in _CHECKED:
            return
        if isinstance(new, Namespace):
            self._namespace(ctx, target, new, old)
        elif isinstance(new, Pod):
            if old is None or _is_changed(new, old):
                self._pod(ctx, target, new.metadata, new.spec, enforce=True)
        elif (template := _template(new)) is not None:
            self._pod(ctx, target, template.metadata, template.spec, enforce=False)

    def _pod(
        self, ctx: Context, target: Target, meta: ObjectMeta, spec: PodSpec, *, enforce: bool
    ) -> None:
        """Judge a pod, or the pods that a template would make: these are refused when they come."""
        wanted = self._policy(target.namespace)
        if enforce and (found := _told(wanted.enforce, meta, spec)):
            raise errors.forbidden_request(target.resource, meta.name, f"violates {found}")
        if found := _told(wanted.audit, meta, spec):
            ctx.audit[AUDIT] = f"would violate {found}"
        if found := _told(wanted.warn, meta, spec):
            ctx.warnings.add([f"would violate {found}"])

    def _policy(self, namespace: str) -> Policy:
        entry = self._cache.find("namespaces", namespace)
        if entry is None:
            return Policy()
        return policy.policy_of(codec.decode(entry.data, Namespace).metadata.labels)

    def _namespace(
        self, ctx: Context, target: Target, new: Namespace, old: Namespace | None
    ) -> None:
        """Labels must be readable; who asks for more is told which pods are not within it."""
        found = policy.problems(new.metadata.labels)
        if found and (old is None or policy.problems(old.metadata.labels) != found):
            resource, name = target.resource, new.metadata.name
            raise errors.invalid_object(resource.group, resource.kind, name, found)
        if old is None:
            return
        wanted = policy.policy_of(new.metadata.labels).enforce
        former = policy.policy_of(old.metadata.labels).enforce
        laxer = wanted.version == former.version and wanted.strictness <= former.strictness
        if wanted.level != "privileged" and not laxer:
            ctx.warnings.add(self._of_existing(new.metadata.name, wanted))

    def _of_existing(self, namespace: str, wanted: Standard) -> Iterator[str]:
        """What to say of the pods of a namespace that asks for more than before."""
        entries = self._cache.list(registry_prefix("pods", namespace))
        if len(entries) > PODS_MAX:
            yield (
                f"new PodSecurity enforce level only checked against the first {PODS_MAX} of "
                f"{len(entries)} existing pods"
            )
        names: dict[str, list[str]] = {}
        for entry in entries[:PODS_MAX]:
            pod = codec.decode(entry.data, Pod)
            if found := violations(wanted, pod.metadata, pod.spec):
                names.setdefault(", ".join(one.reason for one in found), []).append(
                    pod.metadata.name
                )
        if names:
            yield (
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce '
                f'level "{wanted}"'
            )
        yield from sorted(f"{_first(pods)}: {reasons}" for reasons, pods in names.items())


def _first(names: list[str]) -> str:
    """`a (and 2 other pods)`"""
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other pod{'s' if others > 1 else ''})"


def _told(standard: Standard, meta: ObjectMeta, spec: PodSpec) -> str:
    """What a pod violates, in words; empty when it is within the standard."""
    found = ", ".join(map(str, violations(standard, meta, spec)))
    return f'PodSecurity "{standard}": {found}' if found else ""


def _template(obj: Any) -> Any:
    """The template of what makes pods; None of any other object."""
    return getattr(obj, "template", None) or getattr(getattr(obj, "spec", None), "template", None)


def _is_changed(new: Pod, old: Pod) -> bool:
    """Whether an update matters: another image, or a container more."""

    def images(pod: Pod) -> list[tuple[str, str]]:
        return [(container.name, container.image) for container in containers(pod.spec)]

    return images(new) != images(old)
