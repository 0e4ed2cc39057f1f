"""Credentials for pulls, from the Secrets that a pod names in imagePullSecrets. Pure.

Source: https://kubernetes.io/docs/concepts/containers/images/#specifying-imagepullsecrets-on-a-pod
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from common.api.types.core_v1 import Pod
from node.kubelet.env import Config

DOCKER_HUB = "docker.io"
_HUB_NAMES = {"docker.io", "index.docker.io", "https://index.docker.io/v1/"}


def credentials(pod: Pod, image: str, config: Config) -> tuple[str, str] | None:
    """(user, password) for the registry of an image; None when no Secret knows it."""
    wanted = registry_of(image)
    for reference in pod.spec.imagePullSecrets:
        secret = config.secrets.get(reference.name)
        if secret is None:
            continue
        for name, entry in _entries(secret.data).items():
            host = DOCKER_HUB if name in _HUB_NAMES else _host(name)
            found = _login(entry) if host == wanted else None
            if found is not None:
                return found
    return None


def registry_of(image: str) -> str:
    """The registry that an image's name means; Docker Hub when it names none."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return DOCKER_HUB


def _host(name: str) -> str:
    """The registry of an entry, which may be a URL."""
    return name.removeprefix("https://").removeprefix("http://").split("/")[0]


def _entries(data: dict[str, bytes]) -> dict[str, Any]:
    """Logins by registry of either form of Secret; none when it is not what it should be."""
    for key in (".dockerconfigjson", ".dockercfg"):
        if key not in data:
            continue
        try:
            plain = msgspec.json.decode(data[key])
        except msgspec.DecodeError:
            return {}
        entries = plain.get("auths") if key == ".dockerconfigjson" else plain
        return entries if isinstance(entries, dict) else {}
    return {}


def _login(entry: Any) -> tuple[str, str] | None:
    """User and password of an entry, given plainly or as `auth`."""
    if not isinstance(entry, dict):
        return None
    if entry.get("username"):
        return str(entry["username"]), str(entry.get("password", ""))
    try:
        user, mark, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, TypeError):
        return None
    return (user, password) if mark else None
