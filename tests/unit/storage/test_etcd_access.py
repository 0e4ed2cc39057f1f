"""What a user may say of an etcd of his own, and what is said of mistakes."""

from pathlib import Path

import pytest

from common.etcd.access import (
    Access,
    endpoint_problem,
    file_problems,
    prefix_problem,
    problems,
)
from common.runtime.clock import SystemClock
from common.runtime.config import ConfigError
from common.security.ca import CertificateAuthority
from master.config import parse

SECURE = ("https://10.0.0.1:2379",)


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1:2379",
        "https://etcd-1.example:2379",
        "https://[2001:db8::1]:2379",
        "http://127.0.0.1:2379",
        "http://[::1]:2379",
        "http://localhost:2379",
    ],
)
def test_endpoints(url: str) -> None:
    assert endpoint_problem(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "10.0.0.1:2379",
        "https://10.0.0.1",
        "https://10.0.0.1:2379/",
        "https://user:secret@10.0.0.1:2379",
        "https://:2379",
        "https://10.0.0.1:99999",
        "https://[::1:2379",
        "unix://10.0.0.1:2379",
        "",
    ],
)
def test_what_is_no_endpoint(url: str) -> None:
    assert "is not an endpoint of etcd such as https://" in endpoint_problem(url)


def test_plain_text_goes_no_further_than_this_machine() -> None:
    assert "use https://" in endpoint_problem("http://10.0.0.1:2379")


def test_prefixes() -> None:
    assert [prefix_problem(text) for text in ("/wherry", "/a/b.c-d_e")] == ["", ""]
    for text in ("wherry", "/", "/a/", "//a", "/a b", "/../a", "/ä"):
        assert "is not a prefix such as /wherry" in prefix_problem(text)


@pytest.mark.parametrize(
    ("access", "said"),
    [
        (Access(), []),
        (Access(endpoints=SECURE, cacert="/ca", cert="/c", key="/k"), []),
        (
            Access(cacert="/ca", prefix="/b"),
            [
                "etcd-cacert is for an etcd that is not the master's own: set etcd-endpoints too",
                "etcd-prefix is for an etcd that is not the master's own: set etcd-endpoints too",
            ],
        ),
        (Access(endpoints=(*SECURE, *SECURE)), ["etcd-endpoints names an endpoint twice"]),
        (
            Access(endpoints=(*SECURE, "http://127.0.0.1:1")),
            ["etcd-endpoints must be https:// all of them, or http:// all of them"],
        ),
        (
            Access(endpoints=("http://127.0.0.1:1",), cacert="/ca"),
            ["etcd-cacert is for endpoints that are https://"],
        ),
        (
            Access(endpoints=SECURE, cert="/c"),
            ["etcd-cert is of no use without etcd-key"],
        ),
        (Access(endpoints=SECURE, key="/k"), ["etcd-key is of no use without etcd-cert"]),
    ],
)
def test_settings_that_do_not_fit(access: Access, said: list[str]) -> None:
    assert list(problems(access)) == said


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """ca, cert and key of a pair, and the key of another."""
    ca = CertificateAuthority.create("etcd-ca", SystemClock())
    pair, other = ca.issue_client("wherry"), ca.issue_client("other")
    for name, data in {
        "ca": ca.certificate_pem,
        "cert": pair.certificate_pem,
        "key": pair.key_pem,
        "other": other.key_pem,
        "text": b"hello",
        "torn": b"-----BEGIN CERTIFICATE-----\nMII",
    }.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def access(files: Path, cacert: str, cert: str, key: str) -> Access:
    named = {"cacert": cacert, "cert": cert, "key": key}
    return Access(endpoints=SECURE, **{k: str(files / v) for k, v in named.items()})


def test_files_that_fit(files: Path) -> None:
    assert list(file_problems(access(files, "ca", "cert", "key"))) == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("none", "cert", "key"), "etcd-cacert: {}/none: no such file or directory"),
        (("text", "cert", "key"), "etcd-cacert: {}/text: it is not a PEM file"),
        (("torn", "cert", "key"), "etcd-cacert: {}/torn: it holds no certificate that can be read"),
        (("ca", "cert", "other"), "etcd-key: {0}/other is not the key of {0}/cert"),
        (("ca", "torn", "key"), "etcd-cert: {0}/torn, or its key {0}/key, cannot be read as one"),
        (("ca", "key", "cert"), "etcd-cert: {0}/key, or its key {0}/cert, cannot be read as one"),
        ((".", "cert", "key"), "etcd-cacert: {}: is a directory"),
    ],
)
def test_files_that_do_not(files: Path, names: tuple[str, str, str], said: str) -> None:
    assert list(file_problems(access(files, *names))) == [said.format(files)]


def test_the_master_says_it_before_it_starts(files: Path) -> None:
    words = ["--config", "/dev/null", "--etcd-endpoints", SECURE[0]]
    made = parse([*words, "--etcd-cert", f"{files}/cert", "--etcd-key", f"{files}/key"])
    assert made.etcd.targets == ("10.0.0.1:2379",) and made.etcd.is_secure
    with pytest.raises(ConfigError, match="is not the key of"):
        parse([*words, "--etcd-cert", f"{files}/cert", "--etcd-key", f"{files}/other"])
    with pytest.raises(ConfigError, match="--etcd-endpoints x: 'x' is not an endpoint"):
        parse(["--config", "/dev/null", "--etcd-endpoints", "x"])
