"""The checks of the restricted standard: what a hardened pod says of itself."""

from __future__ import annotations

from collections.abc import Callable

from common.api.types.core_v1 import PodSpec
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.admission.podsecurity import baseline
from master.apiserver.admission.podsecurity.violations import (
    AnyContainer,
    Check,
    Violation,
    containers,
    named,
    quoted,
    security,
    security_of_pod,
    setters,
    those,
    uses,
)

VOLUMES = frozenset(
    (
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
        *("persistentVolumeClaim", "projected", "secret"),
    )
)


def is_windows(spec: PodSpec) -> bool:
    """Whether the pod is for Windows, which has none of this."""
    return spec.os is not None and spec.os.name == "windows"


def privilege_escalation(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No program gets more rights than the one that starts it."""
    bad = those(spec, lambda one: security(one).allowPrivilegeEscalation is not False)
    where = "securityContext.allowPrivilegeEscalation"
    text = f"{named('container', bad)} must set {where}=false"
    return Violation("allowPrivilegeEscalation != false", text) if bad else None


def capabilities(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """Every capability is dropped; NET_BIND_SERVICE may be added."""

    def keeps(one: AnyContainer) -> bool:
        asked = security(one).capabilities
        return asked is None or "ALL" not in asked.drop

    def added(one: AnyContainer) -> set[str]:
        asked = security(one).capabilities
        return set(asked.add) - {"NET_BIND_SERVICE"} if asked is not None else set()

    where, details = "securityContext.capabilities", []
    if keeping := those(spec, keeps):
        details.append(f'{named("container", keeping)} must set {where}.drop=["ALL"]')
    if adding := those(spec, added):
        forbidden = quoted(sorted(set().union(*map(added, containers(spec)))))
        details.append(f"{named('container', adding)} must not include {forbidden} in {where}.add")
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def volumes(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """Volumes of the API, of claims and of drivers alone."""
    bad: dict[str, str] = {}
    for volume in spec.volumes:
        sources = (name for name in volume.__struct_fields__ if name != "name")
        kinds = [name for name in sources if getattr(volume, name) is not None]
        if not VOLUMES.intersection(kinds):
            bad[volume.name] = kinds[0] if kinds else "unknown"
    if not bad:
        return None
    names, kinds = list(bad), sorted(set(bad.values()))
    detail = f"{named('volume', names)} {uses(names)} {named('restricted volume type', kinds)}"
    return Violation("restricted volume types", detail)


def non_root(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """The kubelet must see to it that no container runs as root."""
    reason, where = "runAsNonRoot != true", "securityContext.runAsNonRoot"
    of_pod = security_of_pod(spec).runAsNonRoot
    allowing = those(spec, lambda one: security(one).runAsNonRoot is False)
    if who := setters(of_pod is False, allowing):
        return Violation(reason, f"{who} must not set {where}=false")
    silent = [] if of_pod else those(spec, lambda one: security(one).runAsNonRoot is None)
    text = f"pod or {named('container', silent)} must set {where}=true"
    return Violation(reason, text) if silent else None


def run_as_user(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No container asks to run as root."""
    bad = those(spec, lambda one: security(one).runAsUser == 0)
    who = setters(security_of_pod(spec).runAsUser == 0, bad)
    return Violation("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def seccomp(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """System calls are filtered, and the pod says so."""
    if found := baseline.seccomp(meta, spec):
        return found
    if security_of_pod(spec).seccompProfile is not None:
        return None
    silent = those(spec, lambda one: security(one).seccompProfile is None)
    where = 'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    text = f"pod or {named('container', silent)} must set {where}"
    return Violation("seccompProfile", text) if silent else None


def _on_linux(check: Check) -> Callable[[int], Check]:
    def asked(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
        return None if is_windows(spec) else check(meta, spec)

    return lambda minor: asked if minor >= 25 else check


def _with_users_of_the_host(check: Check) -> Callable[[int], Check]:
    """Root in a user namespace of the pod's own is nobody outside of it."""

    def asked(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
        return None if spec.hostUsers is False else check(meta, spec)

    return lambda minor: asked if minor >= 35 else check


CHECKS: dict[str, tuple[int, Callable[[int], Check]]] = {
    "allowPrivilegeEscalation": (8, _on_linux(privilege_escalation)),
    "capabilities": (22, _on_linux(capabilities)),
    "procMount": (35, lambda minor: baseline.proc_mount_always),
    "hostPathVolumes": (0, lambda minor: volumes),
    "runAsNonRoot": (0, _with_users_of_the_host(non_root)),
    "runAsUser": (23, _with_users_of_the_host(run_as_user)),
    "seccompProfile": (19, _on_linux(seccomp)),
}
"""As those of `baseline`, which one of the same name takes the place of."""
