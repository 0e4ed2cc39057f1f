"""Tokens of service accounts: JSON Web Tokens, signed with ES256. Pure.

There is one algorithm, and all that a token chooses is one of our keys: its header must be, byte
for byte, one that is written here. A token that was asked for says until when and for whom it
counts; one that stands in a Secret counts as long as that does. Source: RFC 7515, RFC 7518 section
3.4, RFC 7519, and k8s.io/kubernetes pkg/serviceaccount (claims.go, legacy.go).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from common.api.wellknown import CLUSTER_DOMAIN
from common.security.accountkeys import AccountKeys, key_id
from master.apiserver.auth.authorizers.rbac import SERVICE_ACCOUNT_PREFIX

ISSUER = f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}"
LEGACY_ISSUER = "kubernetes/serviceaccount"
"""Of the tokens in Secrets."""
API_AUDIENCES = (ISSUER,)
"""Whom a token is for that is to be shown to the API server."""
ALGORITHM = "ES256"
TOKEN_MAX_CHARACTERS = 4096
"""Of what is read, and so of what is issued: a token with long names has 2,500."""
LEEWAY_SECONDS = 60
"""By how much the clocks of two masters may differ, as in Kubernetes."""
INVALID = "invalid bearer token"
_NUMBER_BYTES = 32


class InvalidToken(Exception):
    """A token does not count; the message says why, in Kubernetes' words, and holds none of it."""


class Ref(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object that a token depends on."""

    name: str
    uid: str = ""


class Bound(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The service account, and the object whose end is the end of the token: pod, secret or node.

    With a pod stands the node that the pod was bound to then.
    """

    namespace: str
    node: Ref | None = None
    pod: Ref | None = None
    secret: Ref | None = None
    serviceaccount: Ref


class Claims(msgspec.Struct, frozen=True, kw_only=True, tag_field="iss", tag=ISSUER):
    """What a token says that was asked for; times in seconds since 1970."""

    aud: tuple[str, ...]
    exp: int
    iat: int
    jti: str
    bound: Bound = msgspec.field(name="kubernetes.io")
    nbf: int
    sub: str

    @property
    def user(self) -> str:
        """The name of the user that the service account is."""
        return user_of(self.bound.namespace, self.bound.serviceaccount.name)


class LegacyClaims(msgspec.Struct, frozen=True, kw_only=True, tag_field="iss", tag=LEGACY_ISSUER):
    """What a token says that stands in a Secret."""

    namespace: str = msgspec.field(name="kubernetes.io/serviceaccount/namespace")
    secret: str = msgspec.field(name="kubernetes.io/serviceaccount/secret.name")
    account: str = msgspec.field(name="kubernetes.io/serviceaccount/service-account.name")
    uid: str = msgspec.field(name="kubernetes.io/serviceaccount/service-account.uid")
    """Of the service account."""
    sub: str

    @property
    def user(self) -> str:
        """The name of the user that the service account is."""
        return user_of(self.namespace, self.account)


def user_of(namespace: str, account: str) -> str:
    """The name of the user that a service account is."""
    return f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{account}"


_CLAIMS = msgspec.json.Decoder(Claims | LegacyClaims)


class _PublicKey:
    """A key by which tokens are checked."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self.id = key_id(key)
        self.header = _text_of(_json({"alg": ALGORITHM, "kid": self.id}))

    def check(self, signed: bytes, signature: bytes) -> None:
        """Raise InvalidToken for what this key's other half has not signed."""
        if len(signature) != 2 * _NUMBER_BYTES:
            raise InvalidToken(INVALID)
        r, s = (
            int.from_bytes(part, "big")
            for part in (signature[:_NUMBER_BYTES], signature[_NUMBER_BYTES:])
        )
        try:
            self._key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise InvalidToken(INVALID) from error

    def plain(self) -> dict[str, str]:
        """As a JSON Web Key."""
        numbers = self._key.public_numbers()
        x, y = (_text_of(n.to_bytes(_NUMBER_BYTES, "big")) for n in (numbers.x, numbers.y))
        key = {"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM}
        return {**key, "x": x, "y": y}


class TokenKeys:
    """Sign tokens, and know their own again, and those of former keys."""

    def __init__(self, keys: AccountKeys) -> None:
        self._key = keys.signing
        public = [_PublicKey(key) for key in keys.public]
        self.id, self._header = public[0].id, public[0].header
        self._public = {key.header: key for key in public}

    def issue(
        self, bound: Bound, audiences: Collection[str], *, jti: str, now: int, seconds: int
    ) -> str:
        """A token that is valid from `now` on for so many seconds.

        Raises ValueError when it would be longer than what is read.
        """
        claims = Claims(
            aud=tuple(audiences),
            exp=now + seconds,
            iat=now,
            jti=jti,
            bound=bound,
            nbf=now,
            sub=user_of(bound.namespace, bound.serviceaccount.name),
        )
        return self._signed(claims)

    def issue_legacy(self, secret: str, namespace: str, account: str, uid: str) -> str:
        """The token that stands in a Secret, for a service account with that uid."""
        sub = user_of(namespace, account)
        claims = LegacyClaims(namespace=namespace, secret=secret, account=account, uid=uid, sub=sub)
        return self._signed(claims)

    def _signed(self, claims: Claims | LegacyClaims) -> str:
        signed = f"{self._header}.{_text_of(msgspec.json.encode(claims))}"
        token = f"{signed}.{_text_of(self._signature(signed.encode()))}"
        if len(token) > TOKEN_MAX_CHARACTERS:
            raise ValueError(f"the token would have more than {TOKEN_MAX_CHARACTERS} characters")
        return token

    def _signature(self, signed: bytes) -> bytes:
        """Two numbers side by side, as JWS has them; the library has them in ASN.1."""
        numbers = decode_dss_signature(self._key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return b"".join(number.to_bytes(_NUMBER_BYTES, "big") for number in numbers)

    def read(self, token: str) -> Claims | LegacyClaims:
        """What a token of ours says, at whatever time and for whomever. Raises InvalidToken."""
        if len(token) > TOKEN_MAX_CHARACTERS or not token.isascii():
            raise InvalidToken(INVALID)
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        if header not in self._public:
            raise InvalidToken(INVALID)
        self._public[header].check(signed.encode(), _bytes_of(signature))
        try:
            claims = _CLAIMS.decode(_bytes_of(payload))
        except (msgspec.DecodeError, ValueError) as error:
            raise InvalidToken(INVALID) from error
        if claims.sub != claims.user:
            raise InvalidToken(INVALID)
        return claims

    def configuration(self, address: str) -> dict[str, Any]:
        """The OpenID discovery document of the issuer; `address` is the API server's HOST:PORT."""
        return {
            "issuer": ISSUER,
            "jwks_uri": f"https://{address}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    def key_set(self) -> dict[str, Any]:
        """The public keys, as a JSON Web Key Set."""
        return {"keys": [key.plain() for key in self._public.values()]}


def check(claims: Claims | LegacyClaims, audiences: Collection[str], now: float) -> tuple[str, ...]:
    """Those of the audiences that a token is for, as of a time. Raises InvalidToken."""
    meant = claims.aud if isinstance(claims, Claims) else API_AUDIENCES
    common = tuple(audience for audience in meant if audience in audiences)
    if not common:
        wanted = f"is invalid for the target audiences {_listed(audiences)}"
        raise InvalidToken(f"token audiences {_listed(meant)} {wanted}")
    if isinstance(claims, Claims):
        _check_time(claims, now)
    return common


def _check_time(claims: Claims, now: float) -> None:
    if now > claims.exp + LEEWAY_SECONDS:
        raise InvalidToken("service account token has expired")
    if now < claims.nbf - LEEWAY_SECONDS:
        raise InvalidToken("service account token is not valid yet")
    if now < claims.iat - LEEWAY_SECONDS:
        raise InvalidToken("service account token is issued in the future")


def _listed(audiences: Collection[str]) -> str:
    """As Go writes a list of strings."""
    return f"[{' '.join(json.dumps(audience) for audience in audiences)}]"


def _json(plain: dict[str, str]) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode()


def _text_of(data: bytes) -> str:
    """Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes_of(text: str) -> bytes:
    """The reverse. Raises InvalidToken for any other spelling: each token has just one."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidToken(INVALID) from error
    if _text_of(data) != text:
        raise InvalidToken(INVALID)
    return data
