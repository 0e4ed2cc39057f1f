"""What goes to a node with a pod."""

from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from common.client.informer import Item, Lister
from master.apiserver.rpc.assignments import assignment
from tests.fakes.pods import pod


def lister(plural: str, *items: Item) -> Lister:
    """A lister with these objects."""
    resource = SCHEME.resource("", "v1", plural)
    assert resource is not None
    made = Lister(resource)
    for item in items:
        made.put(item)
    return made


def item(namespace: str, name: str, data: bytes) -> Item:
    """An object."""
    return Item(
        namespace=namespace,
        name=name,
        uid=f"{namespace}/{name}",
        revision=1,
        labels={},
        owners=(),
        deleting=False,
        node="",
        phase="",
        data=data,
    )


SERVICES = (
    item("default", "kubernetes", b"api"),
    item("default", "web", b"web"),
    item("other", "db", b"db"),
    item("own", "kubernetes", b"own api"),
)


@pytest.mark.parametrize(
    ("namespace", "links", "expected"),
    [
        ("default", True, [b"api", b"web"]),
        ("default", None, [b"api", b"web"]),
        ("default", False, [b"api"]),
        ("other", True, [b"db", b"api"]),
        ("other", False, [b"api"]),
        ("own", True, [b"own api"]),
        ("own", False, [b"api"]),
    ],
)
def test_the_services_that_a_pod_sees(namespace: str, links: Any, expected: list[bytes]) -> None:
    one = pod(metadata={"namespace": namespace}, enableServiceLinks=links)
    message, _ = assignment(
        item(namespace, "web", codec.encode(one)),
        lister("configmaps"),
        lister("secrets"),
        lister("services", *SERVICES),
    )
    assert list(message.pod.services) == expected
