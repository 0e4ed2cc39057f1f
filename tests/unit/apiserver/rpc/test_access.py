"""Which kind a request names, and where a call comes from."""

from __future__ import annotations

import pytest

from common.api.errors import StatusError
from common.api.scheme import SCHEME
from master.apiserver.rpc.access import find, source
from protos.cluster_v1_pb2 import ResourceName


def test_every_resource_is_found_by_its_names() -> None:
    """Group, version and plural, or the kind, lead to the resource itself."""
    for resource in SCHEME.resources():
        names = {"group": resource.group, "version": resource.version}
        assert find(SCHEME, ResourceName(plural=resource.plural, **names)) is resource
        assert find(SCHEME, ResourceName(kind=resource.kind, **names)) is resource


@pytest.mark.parametrize(
    ("name", "group", "plural"),
    [
        (ResourceName(plural="pods"), "", "pods"),
        (ResourceName(kind="Event"), "", "events"),
        (ResourceName(group="events.k8s.io", kind="Event"), "events.k8s.io", "events"),
        (ResourceName(plural="po"), "", "pods"),
        (ResourceName(plural="deployment"), "apps", "deployments"),
        (ResourceName(plural="deployments.apps"), "apps", "deployments"),
        (ResourceName(plural="nodes"), "", "nodes"),
        (ResourceName(group="metrics.k8s.io", plural="nodes"), "metrics.k8s.io", "nodes"),
    ],
    ids=str,
)
def test_short_names(name: ResourceName, group: str, plural: str) -> None:
    """Without a group the first one that knows the name is meant, the core group before others."""
    found = find(SCHEME, name)
    assert (found.group, found.plural) == (group, plural)


@pytest.mark.parametrize(
    "name",
    [
        ResourceName(),
        ResourceName(group="apps"),
        ResourceName(version="v1", plural="deployments"),
        ResourceName(group="apps", plural="po"),
        ResourceName(version="v1", plural="po"),
        ResourceName(plural="pods", kind="Deployment"),
        ResourceName(kind="pod"),
    ],
    ids=str,
)
def test_names_of_nothing(name: ResourceName) -> None:
    """Names that contradict each other, or that nobody serves, are 400 or 404."""
    with pytest.raises(StatusError) as error:
        find(SCHEME, name)
    assert error.value.code in (400, 404)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:5000", "10.0.0.1"),
        ("ipv6:[::1]:5000", "::1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:5000", "10.0.0.1"),
    ],
)
def test_guessers_have_one_address(peer: str, address: str) -> None:
    """As REST counts them, so that nobody has twice the tries."""
    assert source(peer) == address
