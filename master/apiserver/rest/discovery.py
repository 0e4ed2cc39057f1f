"""Discovery: which groups, versions, resources and verbs there are; aggregated and legacy.

Pure functions of the catalogue. Source: apidiscovery.k8s.io/v2 and the older APIGroupList family.
"""

from __future__ import annotations

import hashlib
from typing import Any

from common.api.resource import Resource
from common.api.scheme import Scheme
from master.apiserver.registry.catalogue import Catalogue, ResourceDef


def aggregated(catalogue: Catalogue, *, core: bool, version: str) -> dict[str, Any]:
    """An APIGroupDiscoveryList: the core group for /api, all others for /apis."""
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None},
            "versions": [_version(catalogue, group, v) for v in versions],
        }
        for group, versions in catalogue.scheme.groups()
        if (group == "") == core
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _version(catalogue: Catalogue, group: str, version: str) -> dict[str, Any]:
    resources = [_resource(definition) for definition in catalogue.of(group, version)]
    return {"version": version, "resources": resources, "freshness": "Current"}


def _resource(definition: ResourceDef) -> dict[str, Any]:
    resource = definition.resource
    described: dict[str, Any] = {
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
        described["shortNames"] = list(resource.short_names)
    if resource.categories:
        described["categories"] = list(resource.categories)
    subresources = [
        {
            "subresource": name,
            "responseKind": gvk(*definition.kind_of(name)),
            "verbs": handler.verbs,
        }
        for name, handler in definition.subresources.items()
    ]
    if subresources:
        described["subresources"] = subresources
    return described


def gvk(api_version: str, kind: str) -> dict[str, str]:
    """A kind as group, version and kind."""
    group, _, version = api_version.rpartition("/")
    return {"group": group, "version": version, "kind": kind}


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


def api_resource_list(catalogue: Catalogue, group: str, version: str) -> dict[str, Any] | None:
    """/api/v1 or /apis/GROUP/VERSION, or None when it is not served."""
    definitions = catalogue.of(group, version)
    if not definitions:
        return None
    entries: list[dict[str, Any]] = []
    for definition in definitions:
        entries.append(_legacy(definition.resource))
        entries += [_legacy_subresource(definition, name) for name in definition.subresources]
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


def _legacy_subresource(definition: ResourceDef, name: str) -> dict[str, Any]:
    resource, (api_version, kind) = definition.resource, definition.kind_of(name)
    entry: dict[str, Any] = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": definition.subresources[name].verbs,
    }
    if api_version != resource.api_version:
        entry |= {key: value for key, value in gvk(api_version, kind).items() if key != "kind"}
    return entry


def etag(body: bytes) -> str:
    """A strong validator of a document."""
    return '"' + hashlib.sha256(body).hexdigest()[:32].upper() + '"'
