"""Credentials for pulls, from the Secrets that a pod names in imagePullSecrets. Pure.

Source: https://kubernetes.io/docs/concepts/containers/images/#specifying-imagepullsecrets-on-a-pod
"""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec

from common.api.types.core_v1 import Pod
from node.kubelet.spec.env import Config
from node.runtime.reference import DOCKER_HUB, split

_HUB_NAMES = {"docker.io", "index.docker.io", "https://index.docker.io/v1/"}

Login = tuple[str, str]
"""User and password."""


def credentials(pod: Pod, image: str, config: Config) -> list[Login]:
    """Every login that matches an image, in the order in which they are tried: the longest path
    first, then by the order of the Secrets.

    An entry may be for a whole registry, or for the repositories below a path.
    """
    registry, rest = split(image)
    path = re.split("[:@]", rest)[0]
    matching: list[tuple[int, Login]] = []
    for reference in pod.spec.imagePullSecrets:
        secret = config.secrets.get(reference.name)
        for name, entry in _entries(secret.data if secret else {}).items():
            host, below = (DOCKER_HUB, "") if name in _HUB_NAMES else _registry_and_path(name)
            login = _login(entry)
            if login is not None and host == registry and f"{path}/".startswith(below):
                matching.append((len(below), login))
    matching.sort(key=lambda one: one[0], reverse=True)
    return [login for _, login in matching]


def _registry_and_path(name: str) -> tuple[str, str]:
    """(registry, path with a slash at its end or '') of an entry, which may be a URL of the API."""
    host, _, path = name.removeprefix("https://").removeprefix("http://").partition("/")
    path = path.strip("/")
    return host, f"{path}/" if path not in ("", "v1", "v2") else ""


def _entries(data: dict[str, bytes]) -> dict[str, Any]:
    """Logins by registry, from either form of Secret; none when its content is not valid."""
    for key in (".dockerconfigjson", ".dockercfg"):
        if key not in data:
            continue
        try:
            plain = msgspec.json.decode(data[key])
        except msgspec.DecodeError:
            return {}
        if not isinstance(plain, dict):
            return {}
        entries = plain.get("auths") if key == ".dockerconfigjson" else plain
        return entries if isinstance(entries, dict) else {}
    return {}


def _login(entry: Any) -> Login | None:
    """The login of an entry, given plainly or as `auth`."""
    if not isinstance(entry, dict):
        return None
    if entry.get("username"):
        return str(entry["username"]), str(entry.get("password", ""))
    try:
        user, mark, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except (ValueError, TypeError):  # binascii's and Unicode's errors are ValueErrors
        return None
    return (user, password) if mark else None
