"""Names of images as every client of a registry reads them."""

from __future__ import annotations

import pytest

from node.runtime.base import InvalidImageName
from node.runtime.reference import qualified, split

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("reference", "whole"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("wherry-demo:1", "docker.io/library/wherry-demo:1"),
        ("library/busybox:1", "docker.io/library/busybox:1"),
        ("team/app", "docker.io/team/app"),
        ("docker.io/busybox", "docker.io/library/busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox"),
        ("quay.io/a/b", "quay.io/a/b"),
        ("localhost/x:1", "localhost/x:1"),
        ("LOCAL/x", "LOCAL/x"),
        ("host:5000/x", "host:5000/x"),
        (f"10.0.0.1:5000/x@{DIGEST}", f"10.0.0.1:5000/x@{DIGEST}"),
        (f"busybox:1@{DIGEST}", f"docker.io/library/busybox@{DIGEST}"),
        (f"host:5000/x:1@{DIGEST}", f"host:5000/x@{DIGEST}"),
        ("0" * 64, "0" * 64),
        (DIGEST, DIGEST),
    ],
)
def test_a_name_without_a_registry_is_docker_hubs(reference: str, whole: str) -> None:
    assert qualified(reference) == whole
    assert qualified(whole) == whole


def test_a_registry_is_split_off() -> None:
    assert split("busybox") == ("docker.io", "library/busybox")
    assert split("10.0.0.1:5000/x:1") == ("10.0.0.1:5000", "x:1")


@pytest.mark.parametrize("text", ["", "UPPER", "a b", "a//b", "-x", "a:", "a@sha256:0", "a\n"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidImageName, match="invalid reference"):
        qualified(text)
