"""Flags over files, and what is said about wrong ones."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta

from common.runtime import flags
from common.runtime.config import Config, ConfigError
from common.runtime.interfaces import Interface
from common.runtime.values import Address, Cidr, MasterUrl, Port
from master import config as master
from node import config as kubelet
from node.kubeproxy import config as proxy


class Settings(Config, rename="kebab"):
    """A configuration with a field of each kind."""

    name: str = "node"
    port: Annotated[Port, Meta(description="where 100 % of it is served")] = 6443
    seconds: Annotated[float, Meta(gt=0)] = 1.0
    is_off: bool = False
    names: tuple[str, ...] = ()
    pod_cidr: Cidr = "10.0.0.0/16"
    addresses: tuple[Address, ...] = ()
    master: MasterUrl = ""
    log_format: Literal["text", "json"] = "text"


def parse(file: Path, *arguments: str) -> Settings:
    """As a program does whose file has that name."""
    return flags.parse(
        Settings, list(arguments), program="test", description="Tests.", file=str(file)
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file that says two things."""
    path = tmp_path / "config.yaml"
    path.write_text("name: filed\nport: 1\n")
    return path


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(file: Path) -> None:
    made = parse(file, "--port", "2")
    assert (made.name, made.port, made.seconds) == ("filed", 2, 1.0)


def test_every_kind_of_field_is_a_flag(file: Path) -> None:
    made = parse(
        file,
        *("--seconds", "0.5", "--is-off", "--names", "a,b", "--pod-cidr", "10.1.0.0/16"),
        *("--addresses", "10.0.0.1,10.0.0.2", "--master", "https://m:6443/", "--log-format=json"),
    )
    assert made == Settings(
        name="filed",
        port=1,
        seconds=0.5,
        is_off=True,
        names=("a", "b"),
        pod_cidr="10.1.0.0/16",
        addresses=("10.0.0.1", "10.0.0.2"),
        master="https://m:6443/",
        log_format="json",
    )


WRONG = [
    ("port", "0", "Expected `int` >= 1"),
    ("port", "65536", "Expected `int` <= 65535"),
    ("port", "x", "Expected `int`, got `str`"),
    ("seconds", "0", "Expected `float` > 0.0"),
    ("log-format", "xml", "Invalid enum value 'xml'"),
    ("pod-cidr", "x", "'x' is not an IPv4 network such as 10.0.0.0/16"),
    ("pod-cidr", "10.0.0.1/16", "'10.0.0.1/16' is not an IPv4 network"),
    ("pod-cidr", "10.0.0.0/30", "'10.0.0.0/30' is too small: at most /28"),
    ("master", "http://m:6443", "'http://m:6443' is not a URL such as https://MASTER:6443"),
    ("master", "m:6443", "is not a URL"),
    ("master", "https://m", "is not a URL"),
    ("master", "https://m:x", "is not a URL"),
    ("master", "https://m:6443/api", "is not a URL"),
    ("master", "https://m:6443?x", "is not a URL"),
    ("master", "https://u@m:6443", "is not a URL"),
]


@pytest.mark.parametrize(("key", "value", "words"), WRONG)
def test_a_wrong_flag_is_named(file: Path, key: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(file, f"--{key}", value)
    assert str(raised.value).startswith(f"--{key} {value}: ")
    assert words in str(raised.value)


@pytest.mark.parametrize(("key", "value", "words"), WRONG)
def test_the_same_in_a_file_is_named_with_its_line(
    tmp_path: Path, key: str, value: str, words: str
) -> None:
    (tmp_path / "c.yaml").write_text(f"# a comment\n{key}: {value}\n")
    with pytest.raises(ConfigError) as raised:
        parse(tmp_path / "c.yaml")
    assert str(raised.value).startswith(f"{tmp_path}/c.yaml:2: {key}: ")
    assert words in str(raised.value)


def test_what_is_no_text_is_no_address(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("addresses: [10.0.0.1, 7]\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:1: addresses\[1\]: Expected `str`, got `int`"):
        parse(tmp_path / "c.yaml")


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    assert parse(tmp_path / "none.yaml") == Settings()
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such file"):
        parse(tmp_path / "none.yaml", "--config", str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("words", [["--por", "2"], ["--nosuch"], ["more"], ["--port", "2", "3"]])
def test_nothing_is_guessed_and_nothing_passed_over(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """A flag is written in full: `--node 1` must not become --node-port."""
    with pytest.raises(SystemExit) as ended:
        parse(file, *words)
    assert ended.value.code == 2
    assert "unrecognized arguments: " in capsys.readouterr().err


def test_help_says_what_a_flag_is_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(file, "--help")
    assert "where 100 % of it is served; default: 6443" in capsys.readouterr().out


@pytest.mark.parametrize("cls", [master.MasterConfig, kubelet.KubeletConfig, proxy.KubeProxyConfig])
def test_every_setting_says_what_it_is_for(cls: type[Config]) -> None:
    annotations = cls.__annotations__
    assert annotations
    assert not [name for name, kind in annotations.items() if "description=" not in str(kind)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--disable-controllers", "deployment,x"], "there is no controller 'x', but "),
        (["--cluster-cidr", "10.42.0.0/25"], "'10.42.0.0/25' is too small: at most /24"),
        (["--service-cidr", "10.42.3.0/24"], "cluster-cidr 10.42.0.0/16 and service-cidr"),
        (["--advertise-address", "here"], "'here' is not an IPv4 address"),
    ],
)
def test_what_a_master_cannot_start_with(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        master.parse(["--config", "/dev/null", *arguments])


def test_a_master_knows_its_address_and_its_controllers() -> None:
    made = master.parse(["--config", "/dev/null", "--disable-controllers", "deployment"])
    assert IPv4Address(made.advertise_address)
    assert made.disable_controllers == ("deployment",)
    assert made.api_service_address == "10.43.0.1"


LAN, OTHER = Interface("eth0", "10.0.0.1"), Interface("eth1", "10.1.0.1")


def test_a_master_takes_the_address_that_leads_elsewhere_or_the_only_one_there_is() -> None:
    assert master.default_address("10.1.0.1", [LAN, OTHER]) == "10.1.0.1"
    without = [Interface("lo", "127.0.0.1"), LAN, Interface("podman0", "10.88.0.1")]
    assert master.default_address("", without) == "10.0.0.1"
    with pytest.raises(ConfigError, match=r"several: 10\.0\.0\.1 \(eth0\), 10\.1\.0\.1 \(eth1\)$"):
        master.default_address("", [LAN, OTHER])
    with pytest.raises(master.NoAddress, match="no address yet"):
        master.default_address("", without[:1])


def test_a_node_wants_a_master_and_a_name() -> None:
    for parser in (kubelet.parse, proxy.parse):
        with pytest.raises(ConfigError, match="master is not set"):
            parser(["--config", "/dev/null"])
    named = ["--config", "/dev/null", "--master", "https://127.0.0.1:6443", "--node-name"]
    assert kubelet.parse([*named, "n1"]).node_ip == "127.0.0.1"
    with pytest.raises(ConfigError, match="--node-name Bad_: 'Bad_': a lowercase RFC 1123"):
        kubelet.parse([*named, "Bad_"])
