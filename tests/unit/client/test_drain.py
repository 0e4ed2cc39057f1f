"""`wherry drain` asks each pod to go, waits for those that may not yet, and loses none silently."""

from __future__ import annotations

import argparse
import json
from datetime import timedelta
from typing import Any

import pytest

from common.api import scheme
from common.api.errors import StatusError
from common.cli import drain


def pod(name: str, owner: str = "ReplicaSet", phase: str = "Running") -> dict[str, Any]:
    """A pod of a controller of this kind; '' for none."""
    references = [{"kind": owner, "name": "o", "controller": True}] if owner else []
    meta = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "ownerReferences": references,
    }
    return {"metadata": meta, "status": {"phase": phase}}


class Api:
    """A master with one node. `refusals` answers evictions, in order; then they succeed."""

    def __init__(self, *pods: dict[str, Any], refusals: tuple[int, ...] = ()) -> None:
        self.pods = {each["metadata"]["name"]: each for each in pods}
        self.refusals = list(refusals)
        self.done: list[str] = []

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def resource(self, word: str) -> Any:
        return scheme.SCHEME.find(word)

    async def get(self, resource: Any, namespace: str, name: str) -> bytes:
        if name != "n1":
            raise StatusError(404, "NotFound", f'nodes "{name}" not found')
        return b"{}"

    async def patch(self, resource: Any, namespace: str, name: str, patch: dict[str, Any]) -> bytes:
        self.done.append(f"unschedulable {patch['spec']['unschedulable']}")
        return b"{}"

    async def list(self, resource: Any, *, field_selector: str) -> Any:
        assert field_selector == "spec.nodeName=n1"
        items = [json.dumps(each).encode() for each in self.pods.values()]
        return argparse.Namespace(items=items)

    async def evict(self, namespace: str, name: str, *, uid: str) -> None:
        if self.refusals:
            raise StatusError(self.refusals.pop(0), "", "the budget allows none")
        assert uid == f"uid-{name}"
        del self.pods[name]
        self.done.append(f"evict {name}")

    async def delete(self, resource: Any, namespace: str, name: str, *, uid: str) -> None:
        assert uid == f"uid-{name}"
        del self.pods[name]
        self.done.append(f"delete {name}")


def run(api: Api, monkeypatch: pytest.MonkeyPatch, *, node: str = "n1", **more: Any) -> None:
    """`wherry drain` against that master."""
    monkeypatch.setattr(drain, "client", lambda _: api)
    monkeypatch.setattr(drain, "POLL_SECONDS", 0.001)
    settings = {"node": node, "force": False, "timeout": timedelta(seconds=20)} | more
    drain.run_drain(argparse.Namespace(**settings))


def test_pods_of_controllers_go_and_those_of_daemons_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Api(pod("web"), pod("agent", "DaemonSet"), pod("ended", "", "Succeeded"))
    run(api, monkeypatch)
    assert api.done == ["unschedulable True", "evict web", "evict ended"]
    assert capsys.readouterr().out.splitlines() == [
        "node/n1 cordoned",
        "pod default/agent stays: it is a DaemonSet's",
        "pod default/web is asked to go",
        "pod default/ended is asked to go",
        "node/n1 drained",
    ]


def test_a_pod_that_nobody_would_make_again_stops_it_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Api(pod("web"), pod("alone", ""))
    with pytest.raises(SystemExit, match="again: default/alone; --force deletes them"):
        run(api, monkeypatch)
    assert api.done == []
    run(api, monkeypatch, force=True)
    assert api.pods == {}


def test_a_budget_is_waited_for_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Api(pod("web"), refusals=(429, 429, 429))
    run(api, monkeypatch)
    assert api.done[-1] == "evict web"
    assert capsys.readouterr().out.count("pod default/web waits: the budget allows none\n") == 1


def test_a_server_without_evictions_is_asked_to_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(pod("web"), refusals=(404,))
    run(api, monkeypatch)
    assert api.done == ["unschedulable True", "delete web"]


def test_whoever_is_left_in_the_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(pod("web"), refusals=(429,) * 100_000)
    with pytest.raises(SystemExit, match=r"not in time; n1 is cordoned and has default/web$"):
        run(api, monkeypatch, timeout=timedelta(seconds=0.05))


def test_another_refusal_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StatusError, match="the budget"):
        run(Api(pod("web"), refusals=(403,)), monkeypatch)


def test_a_node_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StatusError, match='nodes "n9" not found'):
        run(Api(), monkeypatch, node="n9")
