"""The checks of the baseline standard: what gives a pod power over the machine."""

from __future__ import annotations

from collections.abc import Callable

from common.api.types.core_v1 import LifecycleHandler, PodSpec, Probe, SELinuxOptions
from common.api.types.meta_v1 import ObjectMeta
from master.apiserver.admission.podsecurity.violations import (
    AnyContainer,
    Check,
    Violation,
    containers,
    named,
    plural,
    quoted,
    security,
    security_of_pod,
    setters,
    those,
    uses,
)

APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
CAPABILITIES = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
PROFILES = ("Localhost", "RuntimeDefault")
SYSCTLS = {
    "kernel.shm_rmid_forced": 0,
    "net.ipv4.ip_local_port_range": 0,
    "net.ipv4.ip_local_reserved_ports": 27,
    "net.ipv4.ip_unprivileged_port_start": 0,
    "net.ipv4.ping_group_range": 0,
    "net.ipv4.tcp_fin_timeout": 29,
    "net.ipv4.tcp_keepalive_intvl": 29,
    "net.ipv4.tcp_keepalive_probes": 29,
    "net.ipv4.tcp_keepalive_time": 29,
    "net.ipv4.tcp_rmem": 32,
    "net.ipv4.tcp_syncookies": 0,
    "net.ipv4.tcp_wmem": 32,
}
"""The safe ones, and since which minor version."""
SELINUX_TYPES = {"": 0, "container_t": 0, "container_init_t": 0, "container_kvm_t": 0}
SELINUX_TYPES["container_engine_t"] = 31


def apparmor(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No AppArmor profile but the runtime's and the machine's."""
    of_pod = security_of_pod(spec).appArmorProfile
    bad_pod = of_pod is not None and of_pod.type not in PROFILES
    bad = [
        (one.name, profile.type)
        for one in containers(spec)
        if (profile := security(one).appArmorProfile) is not None and profile.type not in PROFILES
    ]
    notes = sorted(
        f'{key}="{value}"'
        for key, value in meta.annotations.items()
        if key.startswith(APPARMOR)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    who = setters(bad_pod, [name for name, _ in bad])
    if notes:
        who = " and ".join(filter(None, (who, plural("annotation", notes))))
    if not who:
        return None
    types = {kind for _, kind in bad} | ({of_pod.type} if bad_pod and of_pod else set())
    values = [*sorted(types), *notes]
    reason = plural("forbidden AppArmor profile", values)
    return Violation(reason, f"{who} must not set AppArmor profile type to {quoted(values)}")


def capabilities(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No capability beyond the default ones."""

    def added(one: AnyContainer) -> set[str]:
        asked = security(one).capabilities
        return set(asked.add) - CAPABILITIES if asked is not None else set()

    bad = those(spec, added)
    if not bad:
        return None
    forbidden = sorted(set().union(*map(added, containers(spec))))
    where = "securityContext.capabilities.add"
    detail = f"{named('container', bad)} must not include {quoted(forbidden)} in {where}"
    return Violation("non-default capabilities", detail)


def host_namespaces(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """None of the machine's namespaces."""
    shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if getattr(spec, name)]
    detail = ", ".join(f"{name}=true" for name in shared)
    return Violation("host namespaces", detail) if shared else None


def host_path_volumes(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No directory of the machine."""
    bad = [volume.name for volume in spec.volumes if volume.hostPath is not None]
    return Violation("hostPath volumes", named("volume", bad)) if bad else None


def host_ports(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No port of the machine."""

    def taken(one: AnyContainer) -> set[str]:
        return {str(port.hostPort) for port in one.ports if port.hostPort}

    bad = those(spec, taken)
    if not bad:
        return None
    ports = sorted(set().union(*map(taken, containers(spec))))
    listed = f"{plural('hostPort', ports)} {', '.join(ports)}"
    return Violation("hostPort", f"{named('container', bad)} {uses(bad)} {listed}")


def probe_hosts(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No probe or hook that calls another host than the pod."""

    def called(handler: Probe | LifecycleHandler | None) -> set[str]:
        parts = (handler.httpGet, handler.tcpSocket) if handler is not None else ()
        return {part.host for part in parts if part is not None and part.host}

    def hosts(one: AnyContainer) -> set[str]:
        probes = (one.livenessProbe, one.readinessProbe, one.startupProbe)
        hooks = (one.lifecycle.postStart, one.lifecycle.preStop) if one.lifecycle else ()
        return set().union(*map(called, (*probes, *hooks)))

    bad = sorted(set(those(spec, hosts)))
    if not bad:
        return None
    found, reason = sorted(set().union(*map(hosts, containers(spec)))), "probe or lifecycle host"
    return Violation(reason, f"{named('container', bad)} {uses(bad)} {named(reason, found)}")


def privileged(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No privileged container."""
    bad = those(spec, lambda one: security(one).privileged)
    detail = f"{named('container', bad)} must not set securityContext.privileged=true"
    return Violation("privileged", detail) if bad else None


def proc_mount_always(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """The default masks over /proc."""

    def unmasked(one: AnyContainer) -> str:
        kind = security(one).procMount
        return kind if kind not in (None, "Default") else ""

    bad = those(spec, unmasked)
    if not bad:
        return None
    kinds = quoted(sorted({kind for one in containers(spec) if (kind := unmasked(one))}))
    detail = f"{named('container', bad)} must not set securityContext.procMount to {kinds}"
    return Violation("procMount", detail)


def proc_mount(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """The default masks over /proc, unless the pod has users of its own."""
    return None if spec.hostUsers is False else proc_mount_always(meta, spec)


def selinux(minor: int) -> Check:
    """No SELinux user, no role, and a type of containers."""

    def kind(options: SELinuxOptions | None) -> str:
        text = options.type if options is not None else ""
        return text if SELINUX_TYPES.get(text, minor + 1) > minor else ""

    def is_bad(options: SELinuxOptions | None) -> bool:
        return options is not None and bool(kind(options) or options.user or options.role)

    def check(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
        of_pod = security_of_pod(spec).seLinuxOptions
        who = setters(is_bad(of_pod), those(spec, lambda one: is_bad(security(one).seLinuxOptions)))
        if not who:
            return None
        every = [of_pod, *(security(one).seLinuxOptions for one in containers(spec))]
        types = sorted({kind(one) for one in every} - {""})
        data = [named("type", types)] if types else []
        for part in ("user", "role"):
            if any(getattr(one, part) for one in every if one is not None):
                data.append(f"{part} may not be set")
        text = f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
        return Violation("seLinuxOptions", text)

    return check


def seccomp(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """System calls are not left unfiltered on purpose."""
    of_pod = security_of_pod(spec).seccompProfile
    bad_pod = of_pod is not None and of_pod.type not in PROFILES

    def unfiltered(one: AnyContainer) -> str:
        profile = security(one).seccompProfile
        return profile.type if profile is not None and profile.type not in PROFILES else ""

    who = setters(bad_pod, those(spec, unfiltered))
    if not who:
        return None
    types = {unfiltered(one) for one in containers(spec)} - {""}
    types |= {of_pod.type} if bad_pod and of_pod else set()
    detail = f"{who} must not set securityContext.seccompProfile.type to {quoted(sorted(types))}"
    return Violation("seccompProfile", detail)


def sysctls(minor: int) -> Check:
    """The safe sysctls alone."""

    def check(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
        asked = [one.name for one in security_of_pod(spec).sysctls]
        bad = [name for name in asked if SYSCTLS.get(name, minor + 1) > minor]
        return Violation("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def windows_host_process(meta: ObjectMeta, spec: PodSpec) -> Violation | None:
    """No process of the host, on Windows."""
    of_pod = security_of_pod(spec).windowsOptions

    def is_host(one: AnyContainer) -> bool:
        options = security(one).windowsOptions
        return bool(options and options.hostProcess)

    who = setters(bool(of_pod and of_pod.hostProcess), those(spec, is_host))
    detail = f"{who} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", detail) if who else None


CHECKS: dict[str, tuple[int, Callable[[int], Check]]] = {
    "appArmorProfile": (0, lambda minor: apparmor),
    "capabilities": (0, lambda minor: capabilities),
    "hostNamespaces": (0, lambda minor: host_namespaces),
    "hostPathVolumes": (0, lambda minor: host_path_volumes),
    "hostPorts": (0, lambda minor: host_ports),
    "hostProbesAndHostLifecycle": (34, lambda minor: probe_hosts),
    "privileged": (0, lambda minor: privileged),
    "procMount": (0, lambda minor: proc_mount if minor >= 35 else proc_mount_always),
    "seLinuxOptions": (0, selinux),
    "seccompProfile": (19, lambda minor: seccomp),
    "sysctls": (0, sysctls),
    "windowsHostProcess": (0, lambda minor: windows_host_process),
}
"""Each check by name: since which minor version, and what it is in one. They are told in this
order."""
