"""The copy of assignments on disk: Secrets apart, private, and junk is nothing."""

import stat
from pathlib import Path

import pytest

from common.api.codec import json as codec
from node.session.assigned import AssignedStore
from protos import node_v1_pb2
from tests.fakes.pods import UID, pod


@pytest.fixture
def store(tmp_path: Path) -> AssignedStore:
    made = AssignedStore(tmp_path / "assigned", tmp_path / "secrets", tmp_path / "synced")
    made.synced([])
    return made


def assignment(*secrets: bytes) -> node_v1_pb2.PodAssignment:
    """A pod with a ConfigMap, and Secrets."""
    return node_v1_pb2.PodAssignment(
        pod=codec.encode(pod()),
        config_maps=[b'{"data":{}}'],
        services=[b'{"spec":{"clusterIP":"10.96.0.1"}}'],
        secrets=list(secrets),
    )


def test_what_is_kept_comes_back(store: AssignedStore) -> None:
    store.save(UID, assignment(b"s3cret"))
    assert list(store.load()) == [assignment(b"s3cret")]
    store.remove(UID)
    store.remove(UID)
    assert list(store.load()) == []


def test_secrets_are_never_in_the_data_directory(store: AssignedStore, tmp_path: Path) -> None:
    store.save(UID, assignment(b"s3cret"))
    assert b"s3cret" not in (tmp_path / "assigned" / UID).read_bytes()
    assert b"s3cret" in (tmp_path / "secrets" / UID).read_bytes()
    for path in (tmp_path / "assigned", tmp_path / "secrets"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE((path / UID).stat().st_mode) == 0o600


def test_after_a_reboot_the_pod_is_known_without_its_secrets(
    store: AssignedStore, tmp_path: Path
) -> None:
    store.save(UID, assignment(b"s3cret"))
    (tmp_path / "secrets" / UID).unlink()
    assert list(store.load()) == [assignment()]


def test_what_the_master_has_not_told_is_forgotten_with_its_secrets(
    store: AssignedStore, tmp_path: Path
) -> None:
    store.save(UID, assignment(b"s3cret"))
    store.save("gone", assignment(b"s3cret"))
    (tmp_path / "secrets" / ".gone.1").write_bytes(b"s3cret")  # a kubelet died as it wrote
    store.synced({UID})
    for directory in ("assigned", "secrets"):
        assert [file.name for file in (tmp_path / directory).iterdir()] == [UID]


def test_after_a_boot_nothing_counts_until_the_master_has_told_everything(
    store: AssignedStore, tmp_path: Path
) -> None:
    store.save(UID, assignment())
    (tmp_path / "synced").unlink()
    assert list(store.load()) == []
    store.synced({UID})
    assert list(store.load()) == [assignment()]


def test_a_secret_that_is_not_referenced_any_more_is_forgotten(store: AssignedStore) -> None:
    store.save(UID, assignment(b"s3cret"))
    store.save(UID, assignment())
    assert list(store.load()) == [assignment()]


def test_a_cut_file_is_never_half_an_assignment(store: AssignedStore, tmp_path: Path) -> None:
    store.save(UID, assignment())
    file = tmp_path / "assigned" / UID
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        for found in store.load():
            assert found.pod == assignment().pod, "the pod itself is whole"


@pytest.mark.parametrize(
    "junk", [b"", b"\0" * 100, b"{}", b"\xff" * 9, b"\x0a\x02{}", b"\x0a\x03{x}"]
)
def test_junk_is_nothing(store: AssignedStore, tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "assigned" / "other").write_bytes(junk)
    store.save(UID, assignment())
    assert list(store.load()) == [assignment()]
