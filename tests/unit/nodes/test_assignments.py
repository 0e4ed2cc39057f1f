"""What goes to a node with a pod."""

from typing import Any

import msgspec
import pytest

from common.api.codec import json as codec
from common.api.podreferences import RUNTIME_CLASSES, Reference
from common.api.scheme import SCHEME
from common.api.types.core_v1 import Service
from common.client.informer import Item, Lister
from master.nodes.assignments import assignment
from tests.fakes.pods import pod


def lister(name: str, *items: Item) -> Lister:
    """A lister with these objects."""
    plural, _, group = name.partition(".")
    made = Lister(SCHEME.require(group, "v1", plural))
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


def service(namespace: str, name: str, address: str = "10.96.0.7") -> Item:
    """A Service."""
    plain = {
        "metadata": {"name": name, "namespace": namespace, "labels": {"big": "x" * 1000}},
        "spec": {"clusterIP": address, "ports": [{"port": 80}], "selector": {"app": name}},
    }
    return item(namespace, name, msgspec.json.encode(plain))


SERVICES = (
    service("default", "kubernetes"),
    service("default", "web"),
    service("default", "headless", "None"),
    service("default", "external", ""),
    service("other", "db"),
    service("own", "kubernetes"),
)


@pytest.mark.parametrize(
    ("namespace", "links", "expected"),
    [
        ("default", True, ["default/kubernetes", "default/web"]),
        ("default", None, ["default/kubernetes", "default/web"]),
        ("default", False, ["default/kubernetes"]),
        ("other", True, ["other/db", "default/kubernetes"]),
        ("other", False, ["default/kubernetes"]),
        ("own", True, ["own/kubernetes"]),
        ("own", False, ["default/kubernetes"]),
    ],
)
def test_the_services_that_a_pod_sees(namespace: str, links: Any, expected: list[str]) -> None:
    one = pod(metadata={"namespace": namespace}, enableServiceLinks=links)
    message, _ = assignment(
        item(namespace, "web", codec.encode(one)), {"services": lister("services", *SERVICES)}
    )
    told = [codec.decode(data, Service) for data in message.pod.services]
    assert [f"{one.metadata.namespace}/{one.metadata.name}" for one in told] == expected
    assert all(len(data) < 200 for data in message.pod.services), "and no more than is needed"
    assert {one.spec.ports[0].port for one in told} == {80}


@pytest.mark.parametrize(("known", "told"), [(("fast",), b'{"handler":"crun"}'), ((), b"")])
def test_a_pod_goes_with_its_runtime_class(known: tuple[str, ...], told: bytes) -> None:
    one = pod(metadata={"namespace": "default"}, runtimeClassName="fast")
    classes = [item("", name, b'{"handler":"crun"}') for name in known]
    listers = {"services": lister("services"), RUNTIME_CLASSES: lister(RUNTIME_CLASSES, *classes)}
    message, wanted = assignment(item("default", "web", codec.encode(one)), listers)
    assert message.pod.runtime_class == told
    assert wanted == {Reference(RUNTIME_CLASSES, "", "fast")}, "or a later one would not be told of"
