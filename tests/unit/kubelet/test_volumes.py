"""Volumes: what is in them, how updates appear, and that nothing leaves its directory."""

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.api.types.core_v1 import ConfigMap, Pod, PodSecurityContext, Secret
from node.files.mounts import points
from node.kubelet.spec.env import Config
from node.kubelet.spec.texts import ConfigError
from node.kubelet.volumes import volumes
from node.kubelet.volumes.volumes import File, Volumes, publish
from tests.fakes.hostile import pod as hostile_pod
from tests.fakes.pods import HOST, UID, container, pod


def needs_mounts() -> None:
    """Skip where tmpfs cannot be mounted; CI must be able to."""
    if os.geteuid() != 0 and os.environ.get("CI") != "true":
        pytest.skip("mounting needs root")


def with_volume(**source: Any) -> Pod:
    """A pod with one volume."""
    return pod(volumes=[{"name": "v", **source}], metadata={"labels": {"app": "web"}})


def config_map(version: str = "1", **data: str) -> ConfigMap:
    """The ConfigMap `settings`."""
    plain = {"metadata": {"name": "settings", "resourceVersion": version}, "data": data}
    return msgspec.convert(plain, ConfigMap)


def config(*found: ConfigMap, secret: dict[str, bytes] | None = None) -> Config:
    """What a pod references."""
    made = Config({one.metadata.name: one for one in found})
    if secret is not None:
        keys = Secret(data=secret)
        keys.metadata.name = "keys"
        made.secrets["keys"] = keys
    return made


class Made(Volumes):
    """Volumes below a test's directory."""

    def content(self, one: Pod, known: Config) -> Path:
        """Make the pod's volumes; where the first one is."""
        self.make(one, known, HOST, "10.42.1.2")
        return Path(self.path(UID, one.spec.volumes[0]))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Volumes that are removed after the test."""
    found = Made(tmp_path)
    yield found
    found.remove(UID)


def files(directory: Path) -> dict[str, str]:
    """What a container sees: visible name -> content."""
    paths = [
        Path(top) / name for top, _, names in os.walk(directory, followlinks=True) for name in names
    ]
    seen = [path for path in paths if not path.relative_to(directory).parts[0].startswith("..")]
    return {str(path.relative_to(directory)): path.read_text() for path in seen}


def test_a_config_map_is_one_file_a_key(made: Made) -> None:
    directory = made.content(with_volume(configMap={"name": "settings"}), config(config_map(a="1")))
    assert files(directory) == {"a": "1"}
    assert stat.S_IMODE((directory / "a").stat().st_mode) == 0o644


def test_items_choose_keys_paths_and_modes(made: Made) -> None:
    source = {
        "name": "settings",
        "defaultMode": 0o600,
        "items": [{"key": "a", "path": "deep/er/a.txt"}, {"key": "b", "path": "b", "mode": 0o440}],
    }
    directory = made.content(with_volume(configMap=source), config(config_map(a="1", b="2", c="3")))
    assert files(directory) == {"deep/er/a.txt": "1", "b": "2"}
    assert stat.S_IMODE((directory / "deep/er/a.txt").stat().st_mode) == 0o600
    assert stat.S_IMODE((directory / "b").stat().st_mode) == 0o440


def test_an_update_swaps_one_link_and_removes_what_is_gone(made: Made) -> None:
    one = with_volume(configMap={"name": "settings"})
    directory = made.content(one, config(config_map(a="1", b="1")))
    before = (directory / "..data").readlink()
    inode = directory.stat().st_ino
    made.content(one, config(config_map("2", a="2")))
    assert files(directory) == {"a": "2"}
    assert (directory / "..data").readlink() != before
    assert directory.stat().st_ino == inode
    assert not (directory / before).exists()


def test_the_same_content_is_not_written_again(made: Made) -> None:
    one = with_volume(configMap={"name": "settings"})
    directory = made.content(one, config(config_map(a="1")))
    written = (directory / "a").stat().st_mtime_ns, (directory / "..data").lstat().st_ino
    made.content(one, config(config_map("2", a="1")))
    assert ((directory / "a").stat().st_mtime_ns, (directory / "..data").lstat().st_ino) == written


def test_a_crash_in_the_middle_of_an_update_is_repaired(tmp_path: Path) -> None:
    publish(tmp_path, {"a": File(b"1", 0o644)})
    half = tmp_path / "..0000000000000000"
    half.mkdir()
    (tmp_path / "..data_tmp").symlink_to(half.name)
    publish(tmp_path, {"a": File(b"2", 0o644)})
    assert files(tmp_path) == {"a": "2"}


def test_a_crash_after_the_swap_leaves_no_name_of_before(tmp_path: Path) -> None:
    publish(tmp_path, {"a": File(b"1", 0o644)})
    target = (tmp_path / "..data").readlink()
    (tmp_path / "gone").symlink_to("..data/gone")
    (tmp_path / "a").unlink()
    publish(tmp_path, {"a": File(b"1", 0o644)})
    assert (tmp_path / "..data").readlink() == target
    assert files(tmp_path) == {"a": "1"}
    assert not (tmp_path / "gone").is_symlink()


@pytest.mark.parametrize("path", ["../a", "/etc/a", "a/../../b", "..a", "a//b", "a/.", ""])
def test_no_file_leaves_its_volume(made: Made, path: str) -> None:
    source = {"name": "settings", "items": [{"key": "a", "path": path}]}
    with pytest.raises(ConfigError, match="path in a volume"):
        made.content(with_volume(configMap=source), config(config_map(a="1")))


@pytest.mark.parametrize("key", ["configMap", "secret"])
def test_what_is_missing_is_named_and_what_is_optional_is_empty(made: Made, key: str) -> None:
    needs_mounts()
    name = {"configMap": "name", "secret": "secretName"}[key]
    words = f'^MountVolume.SetUp failed for volume "v" : {key.lower()} "none" not found$'
    with pytest.raises(ConfigError, match=words):
        made.content(with_volume(**{key: {name: "none"}}), config())
    directory = made.content(with_volume(**{key: {name: "none", "optional": True}}), config())
    assert files(directory) == {}


def test_a_missing_key_is_named(made: Made) -> None:
    source = {"name": "settings", "items": [{"key": "none", "path": "x"}]}
    with pytest.raises(ConfigError, match="non-existent config key: none"):
        made.content(with_volume(configMap=source), config(config_map(a="1")))


def test_secrets_are_on_tmpfs_and_leave_nothing_behind(made: Made) -> None:
    needs_mounts()
    one = with_volume(secret={"secretName": "keys", "defaultMode": 0o400})
    directory = made.content(one, config(secret={"token": b"s3cret"}))
    assert files(directory) == {"token": "s3cret"}
    assert filesystem(directory) == "tmpfs"
    assert stat.S_IMODE((directory / "token").stat().st_mode) == 0o400
    made.content(one, config(secret={"token": b"s3cret"}))
    made.remove(UID)
    assert not directory.exists()
    assert filesystem(directory) == ""


def filesystem(directory: Path) -> str:
    """The type of what is mounted exactly there, or the empty string."""
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    found = [line[2] for line in lines if line[1] == str(directory)]
    assert len(found) <= 1
    return found[0] if found else ""


def test_an_empty_directory_keeps_its_content_until_the_pod_goes(made: Made) -> None:
    one = with_volume(emptyDir={})
    directory = made.content(one, config())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o777
    (directory / "kept").write_text("1")
    directory.chmod(0o700)
    made.content(one, config())
    assert files(directory) == {"kept": "1"}
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700, "its owner's choice, like a database's"
    outermost = directory.parent.parent.parent
    assert stat.S_IMODE(outermost.stat().st_mode) == 0o700, "other users of the machine stay out"
    made.remove(UID)
    assert not directory.exists()


def test_an_empty_directory_in_memory_has_its_limit(made: Made) -> None:
    needs_mounts()
    one = with_volume(emptyDir={"medium": "Memory", "sizeLimit": "1Mi"})
    directory = made.content(one, config())
    assert filesystem(directory) == "tmpfs"
    with pytest.raises(OSError, match="No space left"):
        (directory / "big").write_bytes(bytes(2 << 20))


def test_a_mount_that_fails_is_told_with_its_volume(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(directory: Path, options: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(directory))

    monkeypatch.setattr(volumes, "mount_tmpfs", fail)
    with pytest.raises(ConfigError, match=r'SetUp failed for volume "v" : .* not permitted'):
        made.content(with_volume(emptyDir={"medium": "Memory"}), config())


@pytest.mark.parametrize("medium", ["", "Memory"])
def test_what_an_unprivileged_container_has_nested_goes_with_its_pod(
    made: Made, tmp_path: Path, medium: str
) -> None:
    needs_mounts()
    directory = made.content(with_volume(emptyDir={"medium": medium}), config())
    hostile_pod.nest(directory, 2000)
    hostile_pod.litter(directory, tmp_path)
    assert made.remove(UID)
    assert [path.name for path in tmp_path.iterdir()] == [UID]
    assert list((tmp_path / UID).iterdir()) == []


def test_what_a_container_has_mounted_on_a_volume_goes_with_its_pod(made: Made) -> None:
    """A privileged container with mountPropagation Bidirectional mounts on the machine."""
    needs_mounts()
    directory = made.content(with_volume(emptyDir={}), config())
    for name in ("a b", "tab\there", "line\nend", "back\\040slash"):
        point = directory / name
        point.mkdir()
        for _ in range(2):
            subprocess.run(["mount", "-t", "tmpfs", "none", str(point)], check=True)
        (point / "inner").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", str(point / "inner")], check=True)
    assert made.remove(UID)
    assert not directory.exists()


def test_the_downward_api_writes_fields_of_the_pod(made: Made) -> None:
    needs_mounts()
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "notes", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {"path": "sub/ip", "fieldRef": {"fieldPath": "status.podIP"}},
    ]
    one = with_volume(downwardAPI={"items": items})
    one.metadata.annotations = {"drink": "café"}
    assert files(made.content(one, config())) == {
        "labels": 'app="web"',
        "notes": 'drink="café"',
        "sub/ip": "10.42.1.2",
    }


def test_a_projected_volume_joins_its_sources(made: Made) -> None:
    needs_mounts()
    sources = [
        {"configMap": {"name": "settings"}},
        {"secret": {"name": "keys", "items": [{"key": "token", "path": "secret/token"}]}},
    ]
    known = config(config_map(a="1"), secret={"token": b"s3cret"})
    directory = made.content(with_volume(projected={"sources": sources}), known)
    assert files(directory) == {"a": "1", "secret/token": "s3cret"}


@pytest.mark.parametrize(
    ("kind", "there", "right"),
    [
        ("", "", True),
        ("DirectoryOrCreate", "", True),
        ("FileOrCreate", "", True),
        ("Directory", "", False),
        ("Directory", "directory", True),
        ("Directory", "file", False),
        ("File", "file", True),
        ("File", "directory", False),
        ("Socket", "file", False),
        ("FileOrCreate", "directory", False),
        ("DirectoryOrCreate", "file", False),
    ],
)
def test_host_paths_are_checked(
    made: Made, tmp_path: Path, kind: str, there: str, right: bool
) -> None:
    path = tmp_path / "host"
    if there == "directory":
        path.mkdir()
    elif there == "file":
        path.touch()
    one = with_volume(hostPath={"path": str(path), "type": kind})
    if not right:
        with pytest.raises(ConfigError, match="hostPath type check failed"):
            made.content(one, config())
        return
    assert made.content(one, config()) == path
    assert path.is_file() if kind in ("File", "FileOrCreate") else path.is_dir()


def test_what_is_on_a_host_path_outlives_the_pod(made: Made, tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "data").write_text("1")
    one = with_volume(hostPath={"path": str(tmp_path / "host")})
    made.content(one, config())
    made.remove(UID)
    assert (tmp_path / "host" / "data").read_text() == "1"


def test_the_version_changes_with_what_is_referenced_and_with_nothing_else() -> None:
    one = with_volume(configMap={"name": "settings"})
    first = volumes.version(one, config(config_map("1")))
    assert volumes.version(one, config(config_map("1"))) == first
    assert volumes.version(one, config(config_map("2"))) != first
    one.status.phase = "Running"
    assert volumes.version(one, config(config_map("1"))) == first


@pytest.mark.parametrize("kind", ["", "DirectoryOrCreate", "FileOrCreate"])
@pytest.mark.parametrize("path", ["data", "./data", "~", "/a\0b", "\0", "/" + "x" * 5000])
def test_a_path_that_is_none_of_the_machines_is_refused_by_name(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, kind: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with pytest.raises(ConfigError, match=r"spec\.volumes\[v\]\.hostPath\.path: must"):
        made.content(with_volume(hostPath={"path": path, "type": kind}), config())
    assert list(here.iterdir()) == []


def test_one_volume_that_fails_leaves_the_others_to_be_updated(made: Made) -> None:
    sources = [
        {"name": "a", "configMap": {"name": "nothing"}},
        {"name": "b", "configMap": {"name": "settings", "items": [{"key": "no", "path": "x"}]}},
        {"name": "c", "configMap": {"name": "settings"}},
        {"name": "d", "hostPath": {"path": "relative"}},
        {"name": "e", "emptyDir": {}},
    ]
    one = pod(volumes=sources)
    for version in ("1", "2"):
        with pytest.raises(ConfigError) as failed:
            made.make(one, config(config_map(version, key=version)), HOST, "10.42.1.2")
        assert files(Path(made.path(UID, one.spec.volumes[2]))) == {"key": version}
    assert Path(made.path(UID, one.spec.volumes[4])).is_dir()
    named = [f'volume "{name}"' in str(failed.value) for name in "abcde"]
    assert named == [True, True, False, True, False]


def test_what_is_mounted_below_a_volume_finds_its_place_there(made: Made) -> None:
    """Containers may not write to it: nobody can make the place later (k/k#60341)."""
    mounts = [
        {"name": "v", "mountPath": "/etc/app"},
        {"name": "cache", "mountPath": "/etc/app/deep/cache/"},
        {"name": "other", "mountPath": "/etc/application"},
        {"name": "cache", "mountPath": "/etc/app/a"},
    ]
    one = pod(
        containers=[container(volumeMounts=mounts)],
        volumes=[{"name": "v", "configMap": {"name": "settings"}}],
    )
    directory = made.content(one, config(config_map(a="1")))
    assert (directory / "deep/cache").is_dir()
    for version in ("2", "3"):
        made.content(one, config(config_map(version, a=version)))
        assert files(directory) == {"a": version}
        assert (directory / "deep/cache").is_dir()
    visible = sorted(entry.name for entry in directory.iterdir() if entry.name[:2] != "..")
    assert visible == ["a", "deep"]


def test_what_a_container_plants_in_a_volume_leads_no_update_out_of_it(tmp_path: Path) -> None:
    """Catalogue row F21: one that could write to it, say as root with a mount of its own."""
    outside, directory = tmp_path / "outside", tmp_path / "v"
    outside.mkdir()
    (outside / "a").write_text("of the machine")
    directory.mkdir()
    publish(directory, {"a": File(b"1", 0o644), "deep/b": File(b"1", 0o644)})
    target = (directory / "..data").readlink()
    for name in ("..data", "..data_tmp", "a", "deep"):
        volumes.remove_tree(directory / name)
        (directory / name).symlink_to(outside)
    (directory / "..data_tmp").unlink()
    (directory / "..data_tmp").mkdir()
    (directory / target / "a").unlink()
    (directory / target / "a").symlink_to(outside / "a")
    for content in (b"2", b"3"):
        publish(directory, {"a": File(content, 0o644), "deep/b": File(content, 0o600)})
        assert files(directory) == {"a": content.decode(), "deep/b": content.decode()}
        (directory / "..data").unlink()
        (directory / "..data").mkdir()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"a": "of the machine"}


@pytest.mark.parametrize(
    ("user", "mode", "owner"), [(None, 0o640, os.geteuid()), (1234, 0o600, 1234)]
)
def test_a_token_is_one_users_own(made: Made, user: int | None, mode: int, owner: int) -> None:
    """When all containers run as one; else it has the mode of the volume."""
    needs_mounts()
    sources = [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}]
    one = with_volume(projected={"defaultMode": 0o640, "sources": sources})
    one.spec.securityContext = PodSecurityContext(runAsUser=user)
    known = config()
    for token in ("first", "second"):
        known.tokens = {("", 3607): token}
        directory = made.content(one, known)
        assert directory.is_mount(), "on tmpfs"
        assert files(directory) == {"token": token}
        assert made.published(UID, "v/token") == token
        found = (directory / "token").stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (mode, owner)
    assert made.published(UID, "v/other") == ""


def in_group(**source: Any) -> Pod:
    """A pod with one volume that is to belong to a group."""
    return pod(volumes=[{"name": "v", **source}], securityContext={"fsGroup": 4321})


@pytest.mark.parametrize("medium", ["", "Memory"])
def test_an_empty_directory_belongs_to_the_pods_group_and_so_does_what_is_made_in_it(
    made: Made, medium: str
) -> None:
    needs_mounts()
    directory = made.content(in_group(emptyDir={"medium": medium}), config())
    assert (directory.stat().st_gid, stat.S_IMODE(directory.stat().st_mode)) == (4321, 0o2777)
    (directory / "file").touch()
    assert (directory / "file").stat().st_gid == 4321


def test_files_can_be_read_by_the_pods_group(made: Made) -> None:
    needs_mounts()
    source = {"name": "settings", "defaultMode": 0o400, "items": [{"key": "a", "path": "deep/a"}]}
    directory = made.content(in_group(configMap=source), config(config_map(a="1")))
    file, above = (directory / "deep/a").stat(), (directory / "deep").stat()
    assert (file.st_gid, stat.S_IMODE(file.st_mode)) == (4321, 0o440)
    assert (above.st_gid, stat.S_IMODE(above.st_mode)) == (4321, 0o2755)


def test_a_path_of_the_machine_keeps_its_group(made: Made, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    before = (tmp_path / "own").stat()
    made.content(in_group(hostPath={"path": str(tmp_path / "own")}), config())
    after = (tmp_path / "own").stat()
    assert (after.st_gid, after.st_mode) == (before.st_gid, before.st_mode)


def sub_paths(made: Made, one: Pod, known: Config, *paths: str) -> list[Path]:
    """Where the inside of the pod's first volume is for a container that mounts it."""
    made.content(one, known)
    mounts = [{"name": "v", "mountPath": f"/{number}"} for number in range(len(paths))]
    mounting = pod(containers=[container(volumeMounts=mounts)]).spec.containers[0]
    places = made.make_sub_paths(one, mounting, dict(enumerate(paths)))
    return [Path(place) for place in places.values()]


def test_the_inside_of_a_volume_is_mounted_where_nobody_else_can_change_it(made: Made) -> None:
    needs_mounts()
    one = with_volume(emptyDir={})
    directory = made.content(one, config())
    (directory / "file").write_text("x")
    file, new = sub_paths(made, one, config(), "file", "deep/er")
    assert file.read_text() == "x"
    assert {str(file), str(new)} <= points()
    (new / "written").touch()
    assert (directory / "deep/er/written").exists()
    (directory / "deep").rename(directory / "other")
    assert (new / "written").exists(), "it is what it was when it was mounted"


def test_a_key_of_a_config_map_is_mounted_alone(made: Made) -> None:
    needs_mounts()
    [file] = sub_paths(
        made, with_volume(configMap={"name": "settings"}), config(config_map(a="1")), "a"
    )
    assert file.read_text() == "1"


def test_a_later_container_finds_the_inside_as_it_is_then(made: Made) -> None:
    needs_mounts()
    one = with_volume(emptyDir={})
    [before] = sub_paths(made, one, config(), "a")
    directory = Path(made.path(UID, one.spec.volumes[0]))
    (directory / "a").rename(directory / "b")
    [after] = sub_paths(made, one, config(), "a")
    (directory / "a/new").touch()
    assert before == after
    assert [path.name for path in after.iterdir()] == ["new"]


def test_a_link_out_of_the_volume_is_not_mounted(made: Made) -> None:
    one = with_volume(emptyDir={})
    directory = made.content(one, config())
    (directory / "link").symlink_to("/etc")
    with pytest.raises(ConfigError, match="subPath 'link/passwd' leads out of its volume"):
        sub_paths(made, one, config(), "link/passwd")


def test_what_is_mounted_is_unmounted_before_anything_is_removed(
    made: Made, tmp_path: Path
) -> None:
    """The machine's own files stay, whatever of them a container has mounted."""
    needs_mounts()
    own = tmp_path / "own"
    (own / "below").mkdir(parents=True)
    (own / "below/file").write_text("x")
    [place] = sub_paths(made, with_volume(hostPath={"path": str(own)}), config(), "below")
    assert (place / "file").read_text() == "x"
    assert made.remove(UID)
    assert (own / "below/file").read_text() == "x"
    assert not place.exists()


def test_a_data_directory_that_is_a_link_to_another_disk_is_cleaned_up_as_well(
    tmp_path: Path,
) -> None:
    """The kernel names mounts by where they really are."""
    needs_mounts()
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to("disk")
    made = Made(tmp_path / "data/pods")
    one = with_volume(emptyDir={"medium": "Memory"})
    made.content(one, config())
    for _ in range(2):
        sub_paths(made, one, config(), "a")
    assert made.remove(UID)
    assert not [point for point in points() if point.startswith(f"{tmp_path}/")]
