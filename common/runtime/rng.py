"""Randomness as a dependency: whoever needs it takes an `Rng` by constructor."""

import random
import secrets
import uuid
from typing import Protocol

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels, so that no words arise, and no characters that look like another."""


class Rng(Protocol):
    """Where components get random values from, so that a test can repeat them."""

    def uuid(self) -> str:
        """A version 4 UUID in its usual text form: an object's uid."""
        ...

    def suffix(self, length: int = 5) -> str:
        """The random end of a generated name, in Kubernetes' alphabet."""
        ...

    def token(self, size_bytes: int) -> bytes:
        """Bytes that nobody can guess, for secrets and ids."""
        ...

    def random(self) -> float:
        """A number in [0, 1), for jitter; not for secrets."""
        ...


class SystemRng:
    """The operating system's random source."""

    def uuid(self) -> str:
        """A version 4 UUID in its usual text form."""
        return str(uuid.uuid4())  # noqa: TID251 - the one place that asks the machine

    def suffix(self, length: int = 5) -> str:
        """The random end of a generated name, in Kubernetes' alphabet."""
        return "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(length))

    def token(self, size_bytes: int) -> bytes:
        """Bytes that nobody can guess."""
        return secrets.token_bytes(size_bytes)

    def random(self) -> float:
        """A number in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, never a secret
