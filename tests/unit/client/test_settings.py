"""Where the client connects to and with what, from environment and kubeconfig."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.client import https
from common.client.grpc import settings
from common.client.https import ConnectionFailed


def kubeconfig(directory: Path, user: dict[str, Any]) -> str:
    """A kubeconfig file of one user."""
    ca = base64.b64encode(b"the authority").decode()
    cluster = {"server": "https://m:6443", "certificate-authority-data": ca}
    file = directory / "config"
    file.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return str(file)


def test_a_kubeconfig_decides_the_port(tmp_path: Path) -> None:
    """Certificates go to 6444, tokens to 6445; WHERRY_URL says another place."""
    data = base64.b64encode(b"pem").decode()
    pair = {"client-certificate-data": data, "client-key-data": data}
    file = kubeconfig(tmp_path, pair)
    found = settings({"KUBECONFIG": file})
    assert (found.target, found.ca_pem) == ("m:6444", b"the authority")
    assert found.certificate is not None
    elsewhere = settings({"KUBECONFIG": file, "WHERRY_URL": "https://n:1234"})
    assert elsewhere.target == "n:1234"
    token = settings({}, kubeconfig(tmp_path, {"token": "t"}))
    assert (token.target, token.token, token.certificate) == ("m:6445", "t", None)


@pytest.mark.parametrize(
    ("extension", "port"),
    [
        ({"certificates": 7001, "tokens": 7002}, 7002),
        ({"certificates": 7001}, 6445),
        ({"tokens": "7002"}, 6445),
        ({"tokens": True}, 6445),
        ({"tokens": 70_000}, 6445),
        ("text", 6445),
    ],
)
def test_a_kubeconfig_may_say_the_ports(tmp_path: Path, extension: Any, port: int) -> None:
    """A master with other ports than the usual ones writes them; nonsense is passed over."""
    file = Path(kubeconfig(tmp_path, {"token": "t"}))
    document = yaml.safe_load(file.read_text())
    entry = {"name": "wherry.dev/grpc-ports", "extension": extension}
    document["clusters"][0]["cluster"]["extensions"] = ["text", {"name": "other"}, entry]
    file.write_text(yaml.safe_dump(document))
    assert settings({"KUBECONFIG": str(file)}).target == f"m:{port}"


def test_the_environment_is_enough(tmp_path: Path) -> None:
    """URL, token and authority need no kubeconfig."""
    file = tmp_path / "ca"
    file.write_bytes(b"pem")
    variables = {"WHERRY_URL": "https://m:6445", "WHERRY_TOKEN": "t", "WHERRY_CA": str(file)}
    found = settings(variables)
    assert found == ("m:6445", b"pem", None, "t")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WHERRY_URL": "https://m:1", "WHERRY_TOKEN": "t"}, "without WHERRY_CA"),
        (
            {"WHERRY_URL": "https://m:1", "WHERRY_TOKEN": "t", "WHERRY_CA": "/none"},
            "cannot read WHERRY_CA, /none: no such file or directory$",
        ),
        ({"KUBECONFIG": "/none"}, "^cannot read kubeconfig /none: no such file or directory$"),
        ({"KUBECONFIG": "/"}, "^cannot read kubeconfig /: is a directory$"),
        (
            {"WHERRY_URL": "https://m:x", "WHERRY_TOKEN": "t", "WHERRY_CA": "/dev/null"},
            "must be https://HOST:PORT",
        ),
        (
            {"WHERRY_URL": "http://m:1", "WHERRY_TOKEN": "t", "WHERRY_CA": "/dev/null"},
            "must be https",
        ),
    ],
)
def test_what_is_not_enough(variables: dict[str, str], said: str) -> None:
    """Nothing is sent to a server that nobody vouches for."""
    with pytest.raises(ConnectionFailed, match=said):
        settings(variables)


WHOLE: dict[str, Any] = {
    "clusters": [
        {"name": "c", "cluster": {"server": "https://m", "certificate-authority-data": "YQ=="}}
    ],
    "users": [{"name": "u", "user": {"token": "t"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}
NO_KEY = [{"name": "u", "user": {"client-certificate-data": "YQ=="}}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "it is not YAML"),
        ("text", "it is not a kubeconfig"),
        ("- 1", "it is not a kubeconfig"),
        ("{}", "it has no current-context"),
        ({**WHOLE, "current-context": 5}, "it has no current-context"),
        ({**WHOLE, "current-context": "y"}, "it has no context 'y'"),
        ({**WHOLE, "contexts": "text"}, "it has no context 'x'"),
        ({**WHOLE, "contexts": ["text"]}, "it has no context 'x'"),
        ({**WHOLE, "contexts": [{"name": "x", "context": "text"}]}, "it has no cluster"),
        ({**WHOLE, "clusters": []}, "it has no cluster 'c'"),
        ({**WHOLE, "clusters": [{"name": "c", "cluster": {}}]}, "it has no server"),
        ({**WHOLE, "users": []}, "it has no user 'u'"),
        ({**WHOLE, "users": NO_KEY}, "it has no client-key-data"),
        (
            {**WHOLE, "users": [{"name": "u", "user": {"client-certificate-data": "!"}}]},
            "its client-certificate-data is not base64",
        ),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_is_named(
    tmp_path: Path, content: str | dict[str, Any], said: str
) -> None:
    """In words about the file, not about what Python met in it."""
    file = tmp_path / "config"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(ConnectionFailed) as failed:
        settings({"KUBECONFIG": str(file)})
    assert str(failed.value) == f"cannot use kubeconfig {file}: {said}"


def test_without_a_word_about_the_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(https, "ADMIN_KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ConnectionFailed, match=r"^no cluster is named: set KUBECONFIG "):
        settings({})
    monkeypatch.setattr(https, "ADMIN_KUBECONFIG", kubeconfig(tmp_path, {"token": "t"}))
    assert settings({}).token == "t"


def test_an_ipv6_address_keeps_its_brackets() -> None:
    variables = {"WHERRY_URL": "https://[::1]:6445", "WHERRY_TOKEN": "t", "WHERRY_CA": "/dev/null"}
    assert settings(variables).target == "[::1]:6445"
