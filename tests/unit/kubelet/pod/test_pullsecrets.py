"""Credentials for pulls out of imagePullSecrets."""

from __future__ import annotations

import base64
import json

import pytest

from common.api.types.core_v1 import LocalObjectReference, Pod, PodSpec, Secret
from common.api.types.meta_v1 import ObjectMeta
from node.kubelet.spec.env import Config
from node.kubelet.spec.pullsecrets import Login, credentials

POD = Pod(spec=PodSpec(imagePullSecrets=(LocalObjectReference(name="s"),)))
AUTH = base64.b64encode(b"ann:pa:ss").decode()
ANN, U = ("ann", "pa:ss"), ("u", "")


def config(auths: object, key: str = ".dockerconfigjson") -> Config:
    """One Secret `s` with that content."""
    data = json.dumps({"auths": auths} if key == ".dockerconfigjson" else auths).encode()
    return Config(secrets={"s": Secret(metadata=ObjectMeta(name="s"), data={key: data})})


@pytest.mark.parametrize(
    ("image", "auths", "found"),
    [
        ("quay.io/a/b", {"quay.io": {"username": "u", "password": "p"}}, [("u", "p")]),
        ("quay.io/a/b", {"https://quay.io/v2/": {"auth": AUTH}}, [ANN]),
        ("busybox", {"https://index.docker.io/v1/": {"auth": AUTH}}, [ANN]),
        ("busybox", {"docker.io/library": {"auth": AUTH}}, [ANN]),
        ("quay.io/a/b", {"ghcr.io": {"auth": AUTH}}, []),
        ("quay.io/a/b", {"quay.io/x": {"auth": AUTH}, "quay.io": {"username": "u"}}, [("u", "")]),
        ("quay.io/a/b", {"quay.io": {"username": "u"}, "quay.io/a": {"auth": AUTH}}, [ANN, U]),
        ("quay.io/ab/b", {"quay.io/a": {"auth": AUTH}}, []),
        ("quay.io/a/b:1", {"quay.io/a/b": {"auth": AUTH}}, [ANN]),
        ("quay.io/a/b", {"quay.io": {"auth": "%%%"}}, []),
        ("quay.io/a/b", {"quay.io": "text"}, []),
        ("quay.io/a/b", {"quay.io": {"auth": "\u00e9"}}, []),
        ("quay.io/a/b", {"quay.io/x": {"auth": 5}, "quay.io": {"auth": AUTH}}, [ANN]),
        ("quay.io/a/b", [], []),
    ],
)
def test_credentials(image: str, auths: object, found: list[Login]) -> None:
    assert credentials(POD, image, config(auths)) == found


def test_the_old_form_and_no_secret() -> None:
    old = config({"quay.io": {"auth": AUTH}}, ".dockercfg")
    assert credentials(POD, "quay.io/x", old) == [ANN]
    assert credentials(POD, "quay.io/x", Config()) == []


@pytest.mark.parametrize("key", [".dockerconfigjson", ".dockercfg"])
@pytest.mark.parametrize("content", [b"[]", b"5", b'"text"', b"{", b"\xff", b""])
def test_a_secret_that_is_none_leaves_the_others(key: str, content: bytes) -> None:
    secrets = config({"quay.io": {"auth": AUTH}}).secrets
    secrets["broken"] = Secret(metadata=ObjectMeta(name="broken"), data={key: content})
    references = tuple(LocalObjectReference(name=name) for name in ("broken", "s"))
    one = Pod(spec=PodSpec(imagePullSecrets=references))
    assert credentials(one, "quay.io/x", Config(secrets=secrets)) == [ANN]


def test_logins_of_one_place_are_tried_in_the_order_of_the_secrets() -> None:
    names = ("new", "old", "path")
    secrets = {
        "new": config({"quay.io": {"auth": AUTH}}).secrets["s"],
        "old": config({"quay.io": {"username": "u"}}).secrets["s"],
        "path": config({"quay.io/a": {"username": "p", "password": "q"}}).secrets["s"],
    }
    references = tuple(LocalObjectReference(name=name) for name in names)
    one = Pod(spec=PodSpec(imagePullSecrets=references))
    assert credentials(one, "quay.io/a/b", Config(secrets=secrets)) == [("p", "q"), ANN, U]
