"""Texts that the machine cannot take become errors that name their field, and never more."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from node.kubelet.spec import texts
from node.kubelet.spec.texts import ConfigError
from tests.unit.kubelet.pod.test_containers import made

BIG = "x" * texts.ARGUMENT_MAX_BYTES


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        (
            {"command": ["a", "b\0c"]},
            r"spec\.containers\[app\]\.command\[1\]: must not contain NUL",
        ),
        ({"args": ["\0"]}, r"args\[0\]: must not contain NUL"),
        ({"command": [BIG]}, r"command\[0\]: must have less than 131072 bytes"),
        ({"env": [{"name": "A", "value": "\0"}]}, r"env\[A\]: must not contain NUL"),
        ({"env": [{"name": "A\0B", "value": "1"}]}, r"env\[A\\0B\]: must not contain NUL"),
        ({"env": [{"name": "A", "value": BIG}]}, r"env\[A\]: must have less than 131072 bytes"),
        ({"args": [BIG[:-1]] * 60}, r"args and env: must have at most 6291456 bytes in all"),
        ({"workingDir": "/a\0b"}, r"workingDir: must not contain NUL"),
        ({"terminationMessagePath": "/a\0b"}, r"terminationMessagePath: must not contain NUL"),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/a\0b"}]},
            r"volumeMounts\[v\]\.mountPath: must not contain NUL",
        ),
    ],
)
def test_the_field_is_named(fields: dict[str, Any], named: str) -> None:
    of_pod = {"volumes": [{"name": "v", "emptyDir": {}}]}
    with pytest.raises(ConfigError, match=named) as error:
        made(of_pod=of_pod, **fields)
    assert "\0" not in str(error.value)
    assert len(str(error.value)) < 200


def test_references_that_double_are_refused_before_they_fill_memory() -> None:
    """36 lines of a manifest would become 64 GiB."""
    env = [{"name": "A0", "value": "x"}]
    env += [{"name": f"A{n}", "value": f"$(A{n - 1})$(A{n - 1})"} for n in range(1, 37)]
    tracemalloc.start()
    with pytest.raises(ConfigError, match=r"env\[A17\]: must have less than 131072 bytes"):
        made(env=env)
    wide = [{"name": "A", "value": "x" * 100_000}]
    with pytest.raises(ConfigError, match=r"args\[0\]: must have less than 131072 bytes"):
        made(env=wide, args=["$(A)" * 250_000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_what_fits_is_left_as_it_is() -> None:
    fits = "x" * (texts.ARGUMENT_MAX_BYTES - 1)
    assert list(made(args=[fits]).args) == [fits]
    long = "$$" * (texts.ARGUMENT_MAX_BYTES - 1)  # halved by being read
    assert list(made(args=[long]).args) == ["$" * (texts.ARGUMENT_MAX_BYTES - 1)]


def test_paths_within_a_container_begin_at_its_root() -> None:
    spec = made(
        of_pod={"volumes": [{"name": "v", "emptyDir": {}}]},
        volumeMounts=[{"name": "v", "mountPath": "data/x"}],
        terminationMessagePath="message",
    )
    assert {"/data/x", "/message"} <= {mount.target for mount in spec.mounts}
