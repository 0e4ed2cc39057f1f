"""One cluster for all e2e tests: three nodes on a LAN of their own, gone at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, kubectls, missing_tools

# Several runs on one host are out of each other's way.
NAME = f"e{os.getpid() % 1_000_000}"
LAN = f"10.89.{40 + os.getpid() % 200}"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A running cluster, made by the command that the README tells a new user to type."""
    problem = "root is needed" if os.geteuid() else ", ".join(missing_tools())
    if problem:
        if os.environ.get("CI") == "true":
            pytest.fail(f"e2e tests cannot run: {problem}")
        pytest.skip(problem)
    made = Cluster(NAME, LAN, Path(tmp_path_factory.mktemp("local")))
    try:
        made.local("up", timeout_seconds=900)
        made.use()
        made.kubectl_path = kubectls()[0]
        yield made
    finally:
        print(made.local("down"))


@pytest.fixture
def clean(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with an empty default namespace, before and after."""
    _empty(cluster)
    yield cluster
    _empty(cluster)


def _empty(cluster: Cluster) -> None:
    kinds = "deployments,replicasets,replicationcontrollers,pods,configmaps,secrets"
    cluster.kubectl(
        "delete", kinds, "--all", "--grace-period=1", "--ignore-not-found", timeout_seconds=120
    )
    cluster.kubectl("delete", "services", "--field-selector", "metadata.name!=kubernetes")
