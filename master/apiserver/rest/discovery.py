"""Discovery: which groups, versions, resources and verbs there are; aggregated and legacy.

Pure functions of the scheme. Source: apidiscovery.k8s.io/v2 and the older APIGroupList family.
"""

from __future__ import annotations

import hashlib
from typing import Any

from common.api.resource import Resource
from common.api.scheme import Scheme

# Subresources that are served: name -> verbs. Others in the .proto files come with later kinds.
SUBRESOURCE_VERBS = {
    "status": ["get", "patch", "update"],
    "scale": ["get", "patch", "update"],
    "binding": ["create"],
    "log": ["get"],
    "approval": ["get", "patch", "update"],
    "finalize": ["update"],
    "token": ["create"],
}
_KIND_GROUPS = {"Scale": ("autoscaling", "v1"), "TokenRequest": ("authentication.k8s.io", "v1")}


def served_subresources(resource: Resource) -> list[tuple[str, str]]:
    """(name, kind) of the subresources that the server answers."""
    return [(s.name, s.kind) for s in resource.subresources if s.name in SUBRESOURCE_VERBS]


def group_version(resource: Resource, kind: str) -> tuple[str, str]:
    """(group, version) of the kind of a resource's subresource."""
    return _KIND_GROUPS.get(kind, (resource.group, resource.version))


def aggregated(scheme: Scheme, *, core: bool, version: str) -> dict[str, Any]:
    """An APIGroupDiscoveryList: the core group for /api, all others for /apis."""
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None},
            "versions": [_version(scheme, group, v) for v in versions],
        }
        for group, versions in scheme.groups()
        if (group == "") == core
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _of(scheme: Scheme, group: str, version: str) -> list[Resource]:
    return [r for r in scheme.resources() if (r.group, r.version) == (group, version)]


def _version(scheme: Scheme, group: str, version: str) -> dict[str, Any]:
    resources = [_resource(resource) for resource in _of(scheme, group, version)]
    return {"version": version, "resources": resources, "freshness": "Current"}


def _resource(resource: Resource) -> dict[str, Any]:
    found: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    subresources = []
    for name, kind in served_subresources(resource):
        group, version = group_version(resource, kind)
        subresources.append(
            {
                "subresource": name,
                "responseKind": {"group": group, "version": version, "kind": kind},
                "verbs": SUBRESOURCE_VERBS[name],
            }
        )
    if subresources:
        found["subresources"] = subresources
    return found


def api_versions(address: str) -> dict[str, Any]:
    """/api for clients without aggregated discovery."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def api_group_list(scheme: Scheme) -> dict[str, Any]:
    """/apis for clients without aggregated discovery."""
    groups = [_group(group, versions) for group, versions in scheme.groups() if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(scheme: Scheme, name: str) -> dict[str, Any] | None:
    """/apis/GROUP, or None when there is no such group."""
    versions = dict(scheme.groups()).get(name) if name else None
    if versions is None:
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def api_resource_list(scheme: Scheme, group: str, version: str) -> dict[str, Any] | None:
    """/api/v1 or /apis/GROUP/VERSION, or None when it is not served."""
    resources = _of(scheme, group, version)
    if not resources:
        return None
    entries: list[dict[str, Any]] = []
    for resource in resources:
        entries.append(_legacy(resource))
        for name, kind in served_subresources(resource):
            entry = {
                "name": f"{resource.plural}/{name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind,
                "verbs": SUBRESOURCE_VERBS[name],
            }
            if kind in _KIND_GROUPS:
                entry["group"], entry["version"] = _KIND_GROUPS[kind]
            entries.append(entry)
    group_version = f"{group}/{version}" if group else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": entries,
    }


def _legacy(resource: Resource) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def etag(body: bytes) -> str:
    """A strong validator of a document."""
    return '"' + hashlib.sha256(body).hexdigest()[:32].upper() + '"'
