"""Patches: JSON, merge and strategic merge, and their limits."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api import errors, patch, schema

GOLDEN = Path(__file__).parent / "golden"
POD = schema.message("core_v1", "Pod")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab$", max_size=3),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text("ab", max_size=2), children)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("target", "change", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a"], ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_is_rfc_7386(target: Any, change: Any, expected: Any) -> None:
    assert patch.merge(target, change) == expected


@given(JSON, JSON)
def test_merging_twice_changes_nothing_more(target: Any, change: Any) -> None:
    before = copy.deepcopy(target)
    once = patch.merge(target, change)
    assert patch.merge(once, change) == once
    assert target == before


def op(kind: str, path: str, **more: Any) -> dict[str, Any]:
    return {"op": kind, "path": path, **more}


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([op("add", "/b", value=1)], {"a": [1, 2], "b": 1}),
        ([op("add", "/a/0", value=0)], {"a": [0, 1, 2]}),
        ([op("add", "/a/-", value=3)], {"a": [1, 2, 3]}),
        ([op("add", "/a/2", value=3)], {"a": [1, 2, 3]}),
        ([op("replace", "/a", value=None)], {"a": None}),
        ([op("replace", "", value={"z": 1})], {"z": 1}),
        ([op("replace", "/a/1", value=5)], {"a": [1, 5]}),
        ([op("remove", "/a/0")], {"a": [2]}),
        ([op("move", "/b", **{"from": "/a"})], {"b": [1, 2]}),
        ([op("copy", "/b", **{"from": "/a/0"})], {"a": [1, 2], "b": 1}),
        ([op("test", "/a", value=[1, 2])], {"a": [1, 2]}),
        ([op("add", "/x~1y~0z", value=1)], {"a": [1, 2], "x/y~z": 1}),
        ([], {"a": [1, 2]}),
    ],
)
def test_json_patch(operations: list[Any], expected: Any) -> None:
    target = {"a": [1, 2]}
    assert patch.json_patch(target, operations) == expected
    assert target == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({}, 400),
        (["x"], 400),
        ([{"op": "add", "path": 5}], 400),
        ([op(["add"], "/a")], 400),  # type: ignore[arg-type]
        ([op("copy", "/b", **{"from": 5})], 400),
        ([op("test", "/a", value=[1, 2])] * 10_001, 413),
    ],
)
def test_bad_json_patches(operations: Any, code: int) -> None:
    with pytest.raises(errors.StatusError) as raised:
        patch.json_patch({"a": [1, 2], "t": True}, operations)
    assert raised.value.code == code


JSON_PATCHES = [json.loads(line) for line in (GOLDEN / "json_patch.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", JSON_PATCHES, ids=lambda case: json.dumps(case["patch"])[:60])
def test_operations_do_what_they_do_upstream(case: dict[str, Any]) -> None:
    if "error" in case:
        with pytest.raises(errors.StatusError) as raised:
            patch.json_patch(case["original"], case["patch"])
        assert raised.value.code == 422
    else:
        assert patch.json_patch(case["original"], case["patch"]) == case["result"]


def test_copies_cannot_double_forever() -> None:
    doubling = [op("add", "/a", value={"x": "y" * 1_000})]
    doubling += [op("copy", f"/a/k{i}", **{"from": "/a"}) for i in range(40)]
    with pytest.raises(errors.StatusError) as raised:
        patch.json_patch({}, doubling)
    assert raised.value.code == 422
    assert "exceeding the limit 3145728" in raised.value.message


def test_moving_long_lists_aside_again_and_again_is_refused() -> None:
    with pytest.raises(errors.StatusError) as raised:
        patch.json_patch({"a": [0] * 100_000}, [op("add", "/a/0", value=0)] * 10_000)
    assert raised.value.code == 413


def test_ten_thousand_operations_are_fine() -> None:
    operations = [op("add", "/a/-", value=0)] * 10_000
    assert len(patch.json_patch({"a": []}, operations)["a"]) == 10_000


def pod() -> dict[str, Any]:
    return {
        "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x", "y", "z"]},
        "spec": {
            "containers": [
                {"name": "a", "image": "1", "env": [{"name": "E", "value": "1"}]},
                {"name": "b", "image": "2"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "a"}],
        },
    }


@pytest.mark.parametrize(
    "change",
    [
        [],
        5,
        None,
        {"$patch": "zap"},
        {"$patch": ["replace"]},
        {"spec": {"containers": [5]}},
        {"spec": {"containers": [{"image": "x"}]}},
        {"spec": {"containers": [{"$patch": "delete"}]}},
        {"spec": {"containers": [{"name": "a", "$patch": "zap"}]}},
        {"spec": {"$retainKeys": 5}},
        {"spec": {"$retainKeys": "containers"}},
        {"spec": {"$setElementOrder/containers": [["a"]]}},
        {"spec": {"$setElementOrder/containers": [{"name": []}]}},
    ],
)
def test_bad_strategic_patches(change: Any) -> None:
    with pytest.raises(errors.StatusError) as raised:
        patch.strategic(pod(), change, POD)
    assert raised.value.code == 400


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(levels):
        made = {"a": made}
    return made


def test_deep_patches_are_refused() -> None:
    change = deep(5_000)
    for attempt in (
        lambda: patch.merge({}, change),
        lambda: patch.strategic({}, {"x": change}, POD),
        lambda: patch.json_patch({}, [op("add", "/a", value=change)]),
    ):
        with pytest.raises(errors.StatusError) as raised:
            attempt()
        assert raised.value.code == 400


def test_an_item_without_its_key_is_shown_as_kubernetes_shows_it() -> None:
    item = {"env": [], "tty": True, "n": 1, "x": None}
    with pytest.raises(errors.StatusError) as raised:
        patch.strategic(pod(), {"spec": {"containers": [item]}}, POD)
    shown = "map[env:[] n:1 tty:true x:<nil>]"
    assert f"map: {shown} does not contain declared merge key: name" in raised.value.message


KEYS = st.sampled_from(
    [
        "metadata",
        "spec",
        "labels",
        "finalizers",
        "containers",
        "name",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$setElementOrder/finalizers",
        "$deleteFromPrimitiveList/finalizers",
    ]
)
CHANGES = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["a", "b", "replace", "delete", "merge"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, CHANGES, max_size=4))
def test_any_patch_is_applied_or_refused(change: dict[str, Any]) -> None:
    target = pod()
    try:
        patch.strategic(target, change, POD)
    except errors.StatusError as error:
        assert error.code in (400, 422)
    assert target == pod()
