"""An authority that can be followed by another one without anybody being left outside.

First the next one is made and trusted (prepare), then it signs and the former one is still trusted
(switch), then that is trusted no longer (finish). Each step can be interrupted and repeated.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from common.runtime.clock import Clock
from common.security.ca import CertificateAuthority, key_id
from common.security.files import write_private


class Stage(Enum):
    """How far a rotation has come."""

    STEADY = "steady"
    PREPARED = "prepared"
    SWITCHED = "switched"


class Authority:
    """One that signs, and the other one that is trusted during a rotation.

    Raises CertificateError when its files cannot be read or do not belong together.
    """

    def __init__(self, directory: Path, name: str, clock: Clock) -> None:
        self._directory = directory
        self._name = name
        self._clock = clock
        if self._former.exists() and self._next.exists():
            self._replace()  # an interrupted switch
        self._load()

    def _load(self) -> None:
        self.signer = CertificateAuthority.load_or_create(self._directory, self._name, self._clock)
        others = [file.read_bytes() for file in (self._next, self._former) if file.exists()]
        self.trusted = b"".join((self.signer.certificate_pem, *others))
        """The certificates (PEM) that count, the signer's first."""
        self.signer_id = key_id(self.signer.certificate_pem)
        """By which the certificates that it has signed name the signer."""
        self.key_ids = frozenset((self.signer_id, *map(key_id, others)))
        """The same of all that count."""

    @property
    def _next(self) -> Path:
        return self._directory / "next.crt"

    @property
    def _next_key(self) -> Path:
        return self._directory / "next.key"

    @property
    def _former(self) -> Path:
        return self._directory / "former.crt"

    @property
    def stage(self) -> Stage:
        """How far a rotation has come."""
        if self._next.exists():
            return Stage.PREPARED
        return Stage.SWITCHED if self._former.exists() else Stage.STEADY

    def prepare(self) -> None:
        """Make the next authority; from now on it is trusted, too."""
        if self.stage is not Stage.STEADY:
            return
        made = CertificateAuthority.create(self._name, self._clock)
        write_private(self._next_key, made.key_pem)
        write_private(self._next, made.certificate_pem)
        self._load()

    def switch(self) -> None:
        """From now on the next authority signs."""
        if self.stage is not Stage.PREPARED:
            return
        write_private(self._former, self.signer.certificate_pem)
        self._replace()
        self._load()

    def _replace(self) -> None:
        """Put the next one in its place. While it is there, this is done again after a crash."""
        write_private(self._directory / "ca.key", self._next_key.read_bytes())
        write_private(self._directory / "ca.crt", self._next.read_bytes())
        self._next.unlink()
        self._next_key.unlink()

    def finish(self) -> None:
        """From now on the former authority is not trusted any more."""
        if self.stage is Stage.SWITCHED:
            self._former.unlink()
            self._load()
