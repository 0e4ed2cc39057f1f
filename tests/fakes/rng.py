"""Random values that a test can repeat."""

import random
import uuid

from common.runtime.rng import SUFFIX_ALPHABET


class SeededRng:
    """An `Rng` that gives the same values for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def uuid(self) -> str:
        """A version 4 UUID in its usual text form."""
        return str(uuid.UUID(bytes=self._random.randbytes(16), version=4))

    def suffix(self, length: int = 5) -> str:
        """The random end of a generated name."""
        return "".join(self._random.choices(SUFFIX_ALPHABET, k=length))

    def token(self, size_bytes: int) -> bytes:
        """Bytes that only this seed gives."""
        return self._random.randbytes(size_bytes)

    def random(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()
