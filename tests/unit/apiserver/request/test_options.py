"""Options of requests: which go together, and in which words the others are refused."""

from __future__ import annotations

import pytest

from common.api.errors import StatusError
from common.security.identity import Identity
from master.apiserver.request import options

USER = Identity("user", ())
MATCH = "resourceVersionMatch"
LIST = 'ListOptions.meta.k8s.io "" is invalid: '


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {MATCH: "Exact"},
            f"{MATCH}: Forbidden: {MATCH} is forbidden unless resourceVersion is provided",
        ),
        (
            {MATCH: "Exact", "resourceVersion": "0"},
            f'{MATCH}: Forbidden: {MATCH} "exact" is forbidden for resourceVersion "0"',
        ),
        (
            {MATCH: "Foo", "resourceVersion": "1"},
            f'{MATCH}: Unsupported value: "Foo": supported values: "Exact", "NotOlderThan", ""',
        ),
        (
            {MATCH: "NotOlderThan", "resourceVersion": "1", "continue": "x"},
            f"{MATCH}: Forbidden: {MATCH} is forbidden when continue is provided",
        ),
        (
            {"sendInitialEvents": "true"},
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        ),
    ],
)
def test_lists(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(StatusError) as raised:
        options.for_list(parameters)
    assert (raised.value.code, raised.value.message) == (422, LIST + message)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"sendInitialEvents": "true"},
            f"{MATCH}: Forbidden: sendInitialEvents requires setting {MATCH} to NotOlderThan",
        ),
        (
            {MATCH: "NotOlderThan"},
            f"{MATCH}: Forbidden: {MATCH} is forbidden for watch unless sendInitialEvents is "
            "provided",
        ),
        (
            {MATCH: "Exact", "sendInitialEvents": "true"},
            f'{MATCH}: Unsupported value: "Exact": supported values: "NotOlderThan"',
        ),
    ],
)
def test_watches(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(StatusError) as raised:
        options.for_watch(parameters)
    assert (raised.value.code, raised.value.message) == (422, LIST + message)


@pytest.mark.parametrize(
    ("verb", "parameters", "message"),
    [
        (
            "create",
            {"dryRun": "Foo"},
            'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Foo"]: '
            'supported values: "All"',
        ),
        (
            "patch",
            {"fieldValidation": "Foo"},
            'PatchOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Foo": '
            'supported values: "Ignore", "Strict", "Warn"',
        ),
        (
            "update",
            {"fieldManager": "x" * 129},
            'UpdateOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more '
            "than 128 bytes",
        ),
        (
            "create",
            {"fieldManager": "a\n"},
            'CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "a\\n": should '
            "only contain printable characters",
        ),
    ],
)
def test_writes(verb: str, parameters: dict[str, str], message: str) -> None:
    with pytest.raises(StatusError) as raised:
        options.context(parameters, USER, verb)
    assert (raised.value.code, raised.value.message) == (422, message)


@pytest.mark.parametrize(
    ("body", "parameters", "policy"),
    [
        (b"", {}, ""),
        (b"{}", {"propagationPolicy": "Orphan"}, "Orphan"),
        (b'{"propagationPolicy":"Foreground"}', {"propagationPolicy": "Orphan"}, "Foreground"),
        (b'{"orphanDependents":true}', {}, "Orphan"),
        (b"", {"orphanDependents": "false"}, "Background"),
    ],
)
def test_propagation(body: bytes, parameters: dict[str, str], policy: str) -> None:
    ctx = options.context(parameters, USER, "delete")
    assert options.for_delete(body, "", parameters, ctx).propagation_policy == policy


@pytest.mark.parametrize(
    "body",
    [
        b'{"propagationPolicy":""}',
        b'{"propagationPolicy":"Later"}',
        b'{"propagationPolicy":"Orphan","orphanDependents":true}',
    ],
)
def test_propagation_that_cannot_be(body: bytes) -> None:
    with pytest.raises(StatusError) as raised:
        options.for_delete(body, "", {}, options.context({}, USER, "delete"))
    assert raised.value.code == 422
    assert raised.value.message.startswith('DeleteOptions.meta.k8s.io "" is invalid: propagation')
