"""Join tokens: what a new node shows the master, and how it knows the master.

`W1<pin>::<id>.<secret>`: the version of the form, the hex digest of the authority's public key
info, the public id, the secret. A token without pin is refused: it could not tell a master from
an impostor.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field

from common.api.wellknown import KUBE_SYSTEM
from common.runtime.rng import Rng

# A token is kept as a Secret of this type, in this namespace, named by its id.
NAMESPACE = KUBE_SYSTEM
SECRET_TYPE = "wherry.dev/join-token"  # noqa: S105 - a type, not a secret
NAME_PREFIX = "join-token-"
USES = "uses"
"""The key of that Secret that says how many machines may still join by it."""
USED_BY = "wherry.dev/used-by"
"""Its annotation: the uid of the request that took the last use."""
_PREFIX = "W1"
_ID_LENGTH = 6
_SECRET_LENGTH = 26
"""130 bits in base32: too many to guess, so that a plain hash is enough to store."""
_FORM = re.compile(r"W1([0-9a-f]{64})::([a-z0-9]{6})\.([a-z2-7]{26})")
_BEARER_FORM = re.compile(r"([a-z0-9]{6})\.([a-z2-7]{26})")


class InvalidToken(Exception):
    """The text is not a join token. The message never repeats the text."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token in full. Only `text` and `bearer` show the secret; repr and logs never do."""

    id: str
    secret: str = field(repr=False)
    ca_pin: str

    def text(self) -> str:
        """The string that a user passes to a new node."""
        return f"{_PREFIX}{self.ca_pin.removeprefix('sha256:')}::{self.bearer()}"

    def bearer(self) -> str:
        """What the node sends, once it has checked the pin."""
        return f"{self.id}.{self.secret}"


def new_token(ca_pin: str, rng: Rng) -> JoinToken:
    """A new token for the authority with this pin (`sha256:<hex>`)."""
    return JoinToken(_base32(rng, _ID_LENGTH), _base32(rng, _SECRET_LENGTH), ca_pin)


def parse_token(text: str) -> JoinToken:
    """The token in a user's text. Raises InvalidToken."""
    parts = _FORM.fullmatch(text.strip())
    if parts is None:
        raise InvalidToken("a join token has the form W1<ca pin>::<id>.<secret>")
    pin, token_id, secret = parts.groups()
    return JoinToken(token_id, secret, f"sha256:{pin}")


def bearer_id(bearer: str) -> str:
    """The public id in what a node sent: the only part fit for logs. Raises InvalidToken."""
    parts = _BEARER_FORM.fullmatch(bearer)
    if parts is None:
        raise InvalidToken("a join credential has the form <id>.<secret>")
    return parts[1]


def hash_bearer(bearer: str) -> str:
    """What the master stores."""
    return hashlib.sha256(bearer.encode()).hexdigest()


def verify_bearer(bearer: str, stored_hash: str) -> bool:
    """Whether a node sent the right secret; takes the same time for every wrong one."""
    return hmac.compare_digest(hash_bearer(bearer).encode(), stored_hash.encode())


def _base32(rng: Rng, length: int) -> str:
    data = rng.token(length * 5 // 8 + 1)
    return base64.b32encode(data).decode().lower()[:length]
