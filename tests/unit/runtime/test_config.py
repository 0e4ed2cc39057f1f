"""Configuration files and what is said about wrong ones."""

from pathlib import Path

import pytest

from common.runtime import config
from common.runtime.config import Config, ConfigError, load


class Limits(Config):
    """A nested part."""

    pods: int = 110
    names: tuple[str, ...] = ()


class Settings(Config):
    """A whole file."""

    name: str = "node"
    limits: Limits = Limits()


def write(tmp_path: Path, text: str, **drop_ins: str) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    (tmp_path / "config.yaml.d").mkdir()
    for name, content in drop_ins.items():
        (tmp_path / "config.yaml.d" / f"{name}.yaml").write_text(content)
    return file


def test_missing_and_empty_files_give_defaults(tmp_path: Path) -> None:
    assert load(tmp_path / "config.yaml", Settings) == Settings()
    assert load(write(tmp_path, "# nothing\n"), Settings) == Settings()


def test_drop_ins_are_merged_in_order(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "name: a\nlimits: {pods: 1, names: [x]}\n",
        b10="limits: {pods: 3}\n",
        a20="limits: {pods: 2, names: [y, z]}\n",
    )
    assert load(file, Settings) == Settings(name="a", limits=Limits(pods=3, names=("y", "z")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nam: x\n", "config.yaml:1: nam: unknown key"),
        ("name: x\nlimits:\n  pod: 1\n", "config.yaml:3: limits.pod: unknown key"),
        ("limits:\n  pods: many\n", "config.yaml:2: limits.pods: Expected `int`, got `str`"),
        ("limits:\n  names:\n  - a\n  - 1\n", "config.yaml:4: limits.names[1]: Expected `str`"),
        ("name: x\nname: y\n", "config.yaml:2: key 'name' is given twice"),
        ("name: [\n", "config.yaml:2: "),
        ("- a\n", "config.yaml:1: expected a mapping"),
        ("limits: &a\n  names: [*a]\n", "config.yaml:1: "),
        ("name: !!python/object:os.system x\n", "config.yaml:1: "),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), Settings)
    assert f"{tmp_path}/{message}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is a directory"),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"a: \x00", "special characters are not allowed"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None, said: str) -> None:
    """One line, in words that are not Python's."""
    file = tmp_path / "config.yaml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file, Settings)
    assert str(caught.value) == f"{file}: {said}"


def test_error_in_a_drop_in_names_that_file(tmp_path: Path) -> None:
    file = write(tmp_path, "name: x\n", local="\nlimits: {pods: -}\n")
    with pytest.raises(ConfigError, match=r"config\.yaml\.d/local\.yaml:2: limits\.pods: "):
        load(file, Settings)


def test_data_of_an_earlier_version_is_not_forgotten(tmp_path: Path) -> None:
    former, new = tmp_path / "etcd", tmp_path / "master"
    config.refuse_to_forget(former, str(new), "f.yaml")
    former.mkdir()
    new.mkdir()
    with pytest.raises(ConfigError) as raised:
        config.refuse_to_forget(former, str(new), "/etc/f.yaml")
    assert f"say `data-dir: {tmp_path}` in /etc/f.yaml" in str(raised.value)
    config.refuse_to_forget(former, str(tmp_path), "f.yaml")
    config.refuse_to_forget(former, "/elsewhere/master", "f.yaml")
    (new / "etcd").mkdir()
    config.refuse_to_forget(former, str(new), "f.yaml")
