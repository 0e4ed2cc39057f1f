"""Keys for what is stored: AES-256-GCM, a key of its own for each value, sealed for its place.

A sealed value is `\\0wherry:v1:` KEY-ID `:` nonce, wrapped data key, nonce, ciphertext. Both are
sealed for the storage key of the value, so that no value can be moved to another place. The file of
keys has one `ID BASE64` a line; the first one seals, all of them open.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.runtime.rng import Rng
from common.security.files import write_private

MAGIC = b"\0wherry:v1:"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_WRAPPED_BYTES = _KEY_BYTES + 16
_ID_LENGTH = 8


class KeyringError(Exception):
    """Keys cannot be read, or a value cannot be opened with them; the message has no secret."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of a cluster; the first of `keys` (id -> key) seals."""

    keys: dict[str, bytes]
    rng: Rng

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return next(iter(self.keys))

    def seal(self, place: str, data: bytes) -> bytes:
        """`data` for `place`, readable with the current key only."""
        key, about = self.rng.token(_KEY_BYTES), place.encode()
        outer, inner = self.rng.token(_NONCE_BYTES), self.rng.token(_NONCE_BYTES)
        wrapped = AESGCM(self.keys[self.current]).encrypt(outer, key, about)
        head = MAGIC + self.current.encode() + b":"
        return head + outer + wrapped + inner + AESGCM(key).encrypt(inner, data, about)

    def open(self, place: str, data: bytes) -> bytes:
        """The reverse of `seal`; what was never sealed is as it is. Raises KeyringError."""
        if not data.startswith(MAGIC):
            return data
        key_id, rest = self.key_id(data), data[len(MAGIC) + _ID_LENGTH + 1 :]
        if key_id not in self.keys:
            raise KeyringError(f"{place} is sealed with key {key_id}, which is not there")
        outer, rest = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        wrapped, rest = rest[:_WRAPPED_BYTES], rest[_WRAPPED_BYTES:]
        inner, sealed = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            key = AESGCM(self.keys[key_id]).decrypt(outer, wrapped, place.encode())
            return AESGCM(key).decrypt(inner, sealed, place.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyringError(f"{place} was changed, moved, or sealed with another key") from error

    def key_id(self, data: bytes) -> str:
        """The id of the key that a value is sealed with; '' for one that is not sealed."""
        if not data.startswith(MAGIC):
            return ""
        return data[len(MAGIC) : len(MAGIC) + _ID_LENGTH].decode("ascii", "replace")


def load_or_create(file: Path, rng: Rng) -> Keyring:
    """The keys in a file, which is made with a first one. Raises KeyringError."""
    if not file.exists():
        return rotate(file, rng)
    return Keyring(_read(file), rng)


def rotate(file: Path, rng: Rng) -> Keyring:
    """Put a new key in front of those in a file. Raises KeyringError."""
    former = _read(file) if file.exists() else {}
    keys = {rng.token(_ID_LENGTH // 2).hex(): rng.token(_KEY_BYTES), **former}
    lines = [f"{name} {base64.b64encode(key).decode()}\n" for name, key in keys.items()]
    write_private(file, "".join(lines).encode())
    return Keyring(keys, rng)


def _read(file: Path) -> dict[str, bytes]:
    keys = {}
    for number, line in enumerate(file.read_text("ascii", "replace").splitlines(), start=1):
        name, _, text = line.partition(" ")
        try:
            key = base64.b64decode(text, validate=True)
        except binascii.Error:
            key = b""
        if len(name) != _ID_LENGTH or len(key) != _KEY_BYTES:
            raise KeyringError(f"{file}: line {number} is no key")
        keys[name] = key
    if not keys:
        raise KeyringError(f"{file} has no key")
    return keys
