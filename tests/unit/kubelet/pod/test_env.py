"""A container's environment: values, references, the pod's own fields, and what is missing."""

from typing import Any

import msgspec
import pytest

from common.api.types.core_v1 import ConfigMap, Container, Secret
from node.kubelet.spec.env import Config, environment, expand
from node.kubelet.spec.texts import ConfigError
from tests.fakes.pods import HOST, UID, container, pod


def config_map(name: str, **data: str) -> ConfigMap:
    """A ConfigMap."""
    return msgspec.convert({"metadata": {"name": name}, "data": data}, ConfigMap)


def secret(name: str, **data: bytes) -> Secret:
    """A Secret."""
    made = Secret()
    made.metadata.name, made.data = name, data
    return made


CONFIG = Config(
    {"settings": config_map("settings", COLOUR="red", **{"not=valid": "x"})},
    {"keys": secret("keys", TOKEN=b"s3cret")},
)


def made(*, config: Config = CONFIG, **fields: Any) -> dict[str, str]:
    """The environment of a container with these fields."""
    one = pod(metadata={"labels": {"app": "web", "tier": "front"}, "annotations": {"a/b": "c"}})
    spec = msgspec.convert(container(**fields), Container)
    return environment(one, spec, config, HOST, pod_address="10.42.1.2")


def value(source: dict[str, Any], **fields: Any) -> str:
    """The value of one variable."""
    return made(env=[{"name": "X", "valueFrom": source}], **fields)["X"]


def test_later_variables_see_earlier_ones() -> None:
    found = made(
        env=[
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)2 $(C) $$(A)"},
            {"name": "C", "value": "3"},
        ]
    )
    assert found["B"] == "12 $(C) $(A)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $(", "$A $("),
        ("$(NONE)", "$(NONE)"),
        ("$(A)$(A)", "11"),
        ("$", "$"),
        ("$(MY VAR)$()", "2$()"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "MY VAR": "2"}, "args[0]") == expected


def test_the_host_name_is_the_pods() -> None:
    assert made()["HOSTNAME"] == "web"


def test_whole_objects_with_a_prefix_and_single_variables_over_them() -> None:
    found = made(
        envFrom=[
            {"prefix": "P_", "configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "keys"}},
        ],
        env=[{"name": "TOKEN", "value": "other"}],
    )
    assert found["P_COLOUR"] == "red"
    assert found["TOKEN"] == "other"
    assert "P_not=valid" not in found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "default"),
        ("metadata.uid", UID),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['a/b']", "c"),
        ("spec.nodeName", "node1"),
        ("spec.serviceAccountName", "default"),
        ("status.podIP", "10.42.1.2"),
        ("status.hostIP", "10.0.0.11"),
    ],
)
def test_fields_of_the_pod(path: str, expected: str) -> None:
    assert value({"fieldRef": {"fieldPath": path}}) == expected


@pytest.mark.parametrize(
    ("resource", "divisor", "expected"),
    [
        ("limits.cpu", "", "1"),
        ("limits.cpu", "1m", "500"),
        ("limits.memory", "1Mi", "64"),
        ("requests.memory", "", "33554432"),
        ("limits.ephemeral-storage", "1Gi", "100"),
        ("requests.ephemeral-storage", "", "0"),
        ("limits.memory", "0m", "67108864"),
        ("limits.cpu", "0.0", "1"),
    ],
)
def test_limits_and_requests(resource: str, divisor: str, expected: str) -> None:
    resources = {
        "limits": {"cpu": "500m", "memory": "64Mi"},
        "requests": {"memory": "32Mi"},
    }
    source = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
    assert value(source, resources=resources) == expected


def test_without_a_limit_the_machine_is_the_limit() -> None:
    assert value({"resourceFieldRef": {"resource": "limits.cpu"}}) == "2"
    assert value({"resourceFieldRef": {"resource": "limits.memory"}}) == str(4 << 30)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "a"}}, 'configmap "none" not found'),
        ({"secretKeyRef": {"name": "none", "key": "a"}}, 'secret "none" not found'),
        (
            {"configMapKeyRef": {"name": "settings", "key": "a"}},
            "couldn't find key a in ConfigMap default/settings",
        ),
        (
            {"secretKeyRef": {"name": "keys", "key": "a"}},
            "couldn't find key a in Secret default/keys",
        ),
        ({"fieldRef": {"fieldPath": "spec.none"}}, "unsupported fieldPath: spec.none"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="^" + message.replace("(", r"\(") + "$"):
        value(source)


@pytest.mark.parametrize("key", ["configMapKeyRef", "secretKeyRef"])
@pytest.mark.parametrize("name", ["none", "settings", "keys"])
def test_what_is_missing_and_optional_is_left_out(key: str, name: str) -> None:
    source = {key: {"name": name, "key": "none", "optional": True}}
    assert "X" not in made(env=[{"name": "X", "valueFrom": source}])


def test_missing_whole_objects() -> None:
    assert made(envFrom=[{"secretRef": {"name": "none", "optional": True}}])
    with pytest.raises(ConfigError, match='secret "none" not found'):
        made(envFrom=[{"secretRef": {"name": "none"}}])


def test_a_secret_that_is_no_text_does_not_break_a_container() -> None:
    config = Config({}, {"keys": secret("keys", RAW=b"\xff\xfe")})
    found = made(config=config, envFrom=[{"secretRef": {"name": "keys"}}])
    assert len(found["RAW"]) == 2


def service(name: str, address: str, *ports: dict[str, Any]) -> bytes:
    """A Service in JSON."""
    spec = {"clusterIP": address, "ports": list(ports)}
    return msgspec.json.encode({"metadata": {"name": name}, "spec": spec})


def test_services_are_told_in_both_forms() -> None:
    ports = (
        {"name": "http-web", "port": 80, "protocol": "TCP"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
    )
    config = Config(services=[service("hello-world", "10.96.0.7", *ports)])
    assert made(config=config) == {
        "HOSTNAME": "web",
        "HELLO_WORLD_SERVICE_HOST": "10.96.0.7",
        "HELLO_WORLD_SERVICE_PORT": "80",
        "HELLO_WORLD_SERVICE_PORT_HTTP_WEB": "80",
        "HELLO_WORLD_SERVICE_PORT_DNS": "53",
        "HELLO_WORLD_PORT": "tcp://10.96.0.7:80",
        "HELLO_WORLD_PORT_80_TCP": "tcp://10.96.0.7:80",
        "HELLO_WORLD_PORT_80_TCP_PROTO": "tcp",
        "HELLO_WORLD_PORT_80_TCP_PORT": "80",
        "HELLO_WORLD_PORT_80_TCP_ADDR": "10.96.0.7",
        "HELLO_WORLD_PORT_53_UDP": "udp://10.96.0.7:53",
        "HELLO_WORLD_PORT_53_UDP_PROTO": "udp",
        "HELLO_WORLD_PORT_53_UDP_PORT": "53",
        "HELLO_WORLD_PORT_53_UDP_ADDR": "10.96.0.7",
    }


@pytest.mark.parametrize("address", ["", "None"])
def test_services_without_an_address_are_left_out(address: str) -> None:
    config = Config(services=[service("db", address, {"port": 80})])
    assert made(config=config) == {"HOSTNAME": "web"}


def test_an_ipv6_address_stands_in_brackets() -> None:
    config = Config(services=[service("db", "fd00::7", {"port": 80})])
    assert made(config=config)["DB_PORT"] == "tcp://[fd00::7]:80"


def test_the_pods_own_variables_win_over_services_and_may_refer_to_them() -> None:
    config = Config(services=[service("db", "10.96.0.7", {"port": 80})])
    env = [
        {"name": "URL", "value": "http://$(DB_SERVICE_HOST)"},
        {"name": "DB_PORT", "value": "mine"},
    ]
    found = made(config=config, env=env)
    assert (found["URL"], found["DB_PORT"]) == ("http://10.96.0.7", "mine")
