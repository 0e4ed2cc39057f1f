"""A pod as a Quadlet unit: the files by which systemd and Podman run it without Wherry. Pure.

A `.kube` unit names a manifest that `podman kube play` reads. What is written of the pod is what
Podman (4.4 and later) carries out; what it does not is left out, and said. Variables are written
with their values, for Podman knows few of their sources.
Source: podman-systemd.unit(5), podman-kube-play(1).
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from common.api.codec import yaml
from common.api.podreferences import CONFIG_MAPS, SECRETS, Reference

Plain = dict[str, Any]
_POD = frozenset(
    (
        *("initContainers", "containers", "restartPolicy", "terminationGracePeriodSeconds"),
        *("hostNetwork", "hostPID", "hostIPC", "hostname", "hostAliases", "dnsConfig"),
        *("shareProcessNamespace", "securityContext", "volumes"),
    )
)
_OF_CLUSTERS = frozenset(
    (
        *("nodeName", "nodeSelector", "affinity", "tolerations", "schedulerName", "priority"),
        *("priorityClassName", "preemptionPolicy", "topologySpreadConstraints", "overhead"),
        *("serviceAccount", "serviceAccountName", "automountServiceAccountToken", "subdomain"),
        *("enableServiceLinks", "dnsPolicy", "imagePullSecrets", "schedulingGates", "os"),
    )
)
"""What is about other machines, or about the API: nobody misses it where there is only one."""
_CONTAINER = frozenset(
    (
        *("name", "image", "command", "args", "workingDir", "ports", "resources"),
        *("securityContext", "imagePullPolicy", "livenessProbe"),
        *("stdin", "stdinOnce", "tty", "terminationMessagePath", "terminationMessagePolicy"),
        "lifecycle",
    )
)
_REPLACED = frozenset(("env", "envFrom", "volumeMounts", "resizePolicy"))
_VOLUMES = frozenset(("emptyDir", "hostPath", "configMap", "secret", "persistentVolumeClaim"))
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where it is mounted
_ITEM = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Exported(NamedTuple):
    """The files by name, what the unit is called, and what of the pod is not in them."""

    files: Mapping[str, bytes]
    unit: str
    left_out: Sequence[str]


class _Export:
    """One pod on its way into files."""

    def __init__(self, pod: Plain, objects: Mapping[Reference, Plain]) -> None:
        self._meta, self._spec = pod["metadata"], pod["spec"]
        self._objects = objects
        self.left_out: list[str] = []

    def documents(self) -> list[Plain]:
        """The manifest: what volumes are made of, and the pod."""
        pod = self._pod()
        used = [volume.values() for volume in pod["spec"].get("volumes", [])]
        names = {
            (source.get("secretName"), source.get("name"))
            for values in used
            for source in values
            if isinstance(source, dict)
        }
        made = []
        for reference, found in sorted(self._objects.items()):
            if reference.resource == CONFIG_MAPS and (None, reference.name) in names:
                made.append(_document("ConfigMap", found))
            if reference.resource == SECRETS and (reference.name, None) in names:
                made.append(_document("Secret", found))
        return [*made, pod]

    def _pod(self) -> Plain:
        spec = {name: value for name, value in self._spec.items() if name in _POD}
        unknown = [name for name in self._spec if name not in _POD | _OF_CLUSTERS]
        self.left_out += [f"spec.{name}" for name in unknown]
        gone = self._drop_volumes(spec)
        for kind in ("initContainers", "containers"):
            if kind in spec:
                spec[kind] = [self._container(one, gone) for one in spec[kind]]
        notes = {k: v for k, v in self._meta.get("annotations", {}).items() if k != _LAST_APPLIED}
        kept = {
            "name": self._meta["name"],
            "labels": self._meta.get("labels"),
            "annotations": notes,
        }
        metadata = {name: value for name, value in kept.items() if value}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _drop_volumes(self, spec: Plain) -> set[str]:
        """Leave out the volumes that Podman cannot make; answers their names."""
        volumes = spec.pop("volumes", [])
        gone = {volume["name"] for volume in volumes if not _VOLUMES & volume.keys()}
        kept = [volume for volume in volumes if volume["name"] not in gone]
        if kept:
            spec["volumes"] = kept
        tokens = {
            mount["name"]
            for container in (*spec.get("initContainers", []), *spec["containers"])
            for mount in container.get("volumeMounts", [])
            if mount["mountPath"] == _TOKEN
        }
        self.left_out += [f"spec.volumes[{name}]" for name in sorted(gone - tokens)]
        return gone

    def _container(self, container: Plain, gone: set[str]) -> Plain:
        place = f"spec.containers[{container['name']}]"
        made = {name: value for name, value in container.items() if name in _CONTAINER}
        unknown = [name for name in container if name not in _CONTAINER | _REPLACED]
        self.left_out += [f"{place}.{name}" for name in unknown]
        mounts = [one for one in container.get("volumeMounts", []) if one["name"] not in gone]
        if mounts:
            made["volumeMounts"] = mounts
        variables = {**self._all_entries(container)}
        for one in container.get("env", []):
            value = self._value(one)
            if value is None:
                self.left_out.append(f"{place}.env[{one['name']}]")
            else:
                variables[one["name"]] = value
        if variables:
            made["env"] = [{"name": name, "value": value} for name, value in variables.items()]
        return made

    def _all_entries(self, container: Plain) -> dict[str, str]:
        """The variables of envFrom."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            for kind, resource in (("configMapRef", CONFIG_MAPS), ("secretRef", SECRETS)):
                if kind in source:
                    entries = self._entries(resource, source[kind]["name"])
                    prefix = source.get("prefix", "")
                    found |= {prefix + key: value for key, value in entries.items()}
        return found

    def _entries(self, resource: str, name: str) -> dict[str, str]:
        reference = Reference(resource, self._meta["namespace"], name)
        data: dict[str, str] = self._objects.get(reference, {}).get("data", {})
        if resource == CONFIG_MAPS:
            return data
        return {key: b64decode(value).decode("utf-8", "replace") for key, value in data.items()}

    def _value(self, variable: Plain) -> str | None:
        """What a variable has now; None for what Podman's pod will not have."""
        source = variable.get("valueFrom")
        if source is None:
            return str(variable.get("value", ""))
        for kind, resource in (("configMapKeyRef", CONFIG_MAPS), ("secretKeyRef", SECRETS)):
            if kind in source:
                return self._entries(resource, source[kind]["name"]).get(source[kind]["key"])
        return self._field(source.get("fieldRef", {}).get("fieldPath", ""))

    def _field(self, path: str) -> str | None:
        """What stays as it is of the pod's own object."""
        value: str | None = None
        if path == "spec.nodeName":
            value = self._spec.get("nodeName")
        elif path in ("metadata.name", "metadata.namespace", "metadata.uid"):
            value = self._meta.get(path.removeprefix("metadata."))
        elif found := _ITEM.fullmatch(path):
            value = self._meta.get(found[1], {}).get(found[2])
        return value


def export(pod: Plain, objects: Mapping[Reference, Plain]) -> Exported:
    """Make the files of a pod; `objects` are the ConfigMaps and Secrets that it uses."""
    name, work = pod["metadata"]["name"], _Export(pod, objects)
    manifest = b"---\n".join(map(yaml.encode, work.documents()))
    files = {f"{name}.kube": _unit(pod["metadata"]).encode(), f"{name}.yaml": manifest}
    return Exported(files, f"{name}.service", work.left_out)


def _unit(meta: Plain) -> str:
    return f"""\
[Unit]
Description=Pod {meta["namespace"]}/{meta["name"]}, exported from Wherry
Wants=network-online.target
After=network-online.target

[Kube]
Yaml={meta["name"]}.yaml

[Install]
WantedBy=multi-user.target
"""


def _document(kind: str, found: Plain) -> Plain:
    kept: Plain = {n: found[n] for n in ("data", "binaryData", "type") if n in found}
    meta = {"name": found["metadata"]["name"]}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta, **kept}
