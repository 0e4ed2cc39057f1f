"""An etcd that goes back to a backup while its master runs: nobody is shown what never was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.servers.etcdcluster import Cluster, running_cluster
from tests.servers.master import RunningMaster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(180)]
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
LATER = 50
"""Writes after the backup: more than a master makes by itself while the test runs."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster() as made:
        yield made


@pytest.fixture
def master(cluster: Cluster, tmp_path: Path) -> Iterator[RunningMaster]:
    """A master of that etcd."""
    made = RunningMaster(tmp_path)
    access = cluster.access()
    settings = {
        "etcd-endpoints": list(access.endpoints),
        **{f"etcd-{name}": getattr(access, name) for name in ("cacert", "cert", "key")},
    }
    made.settings = tmp_path / "config.yaml"
    made.settings.write_text(json.dumps(settings))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def create(master: RunningMaster, name: str) -> int:
    """Create a ConfigMap; its revision."""
    made = master.admin().json("POST", CONFIG_MAPS, {"metadata": {"name": name}})
    return int(made["metadata"]["resourceVersion"])


def names(master: RunningMaster) -> set[str]:
    """The ConfigMaps that the test has made."""
    listed = master.admin().json("GET", CONFIG_MAPS)["items"]
    return {one["metadata"]["name"] for one in listed} - {"kube-root-ca.crt"}


@contextmanager
def watching(master: RunningMaster, since: int) -> Iterator[HTTPResponse]:
    with closing(master.connection(master.kubeconfig.certificate)) as connection:
        options = f"watch=1&timeoutSeconds=60&resourceVersion={since}"
        connection.request("GET", f"{CONFIG_MAPS}?{options}")
        yield connection.getresponse()


def next_event(watch: HTTPResponse) -> tuple[str, Any]:
    """(type, object)"""
    event = json.loads(watch.readline())
    return event["type"], event["object"]


def test_a_master_begins_again_and_so_do_watches(
    cluster: Cluster, master: RunningMaster, tmp_path: Path
) -> None:
    [member] = cluster.members
    before = create(master, "before")
    backup = tmp_path / "backup"
    member.kill()
    shutil.copytree(member.directory, backup)
    member.start()
    member.wait()
    revisions = [create(master, f"after-{number}") for number in range(LATER)]
    assert before < revisions[0]
    member.kill()
    shutil.rmtree(member.directory)
    shutil.move(backup, member.directory)
    member.start()
    member.wait()
    assert master.process is not None
    assert master.process.wait(60) == 1
    assert "etcd was restored: its revision was" in master.log.read_text()
    master.start()
    assert names(master) == {"before"}
    with watching(master, revisions[-1]) as watch:
        kind, status = next_event(watch)
    assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
    with watching(master, before) as watch:
        again = create(master, "again")
        kind, made = next_event(watch)
    assert again <= revisions[-1], "the revisions of what is lost are given once more"
    assert (kind, made["metadata"]["name"]) == ("ADDED", "again")
