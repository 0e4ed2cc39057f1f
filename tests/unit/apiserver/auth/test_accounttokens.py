"""Tokens of service accounts: what is issued can be read again, and nothing else can."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from common.security.accountkeys import AccountKeys
from master.apiserver.auth.accounttokens import (
    API_AUDIENCES,
    ISSUER,
    LEEWAY_SECONDS,
    LEGACY_ISSUER,
    TOKEN_MAX_CHARACTERS,
    Bound,
    Claims,
    InvalidToken,
    LegacyClaims,
    Ref,
    TokenKeys,
    check,
)

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = TokenKeys(AccountKeys(PRIVATE))
NOW = 1_900_000_000
BOUND = Bound(
    namespace="shop",
    serviceaccount=Ref("web", "uid-1"),
    pod=Ref("web-1", "uid-2"),
    node=Ref("n1", "uid-3"),
)


def issued(key: TokenKeys = KEY, audiences: tuple[str, ...] = API_AUDIENCES) -> str:
    return key.issue(BOUND, audiences, jti="j1", now=NOW, seconds=3600)


def text_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def bytes_of(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token: str) -> list[Any]:
    """Header, claims, signature."""
    header, claims, signature = map(bytes_of, token.split("."))
    return [json.loads(header), json.loads(claims), signature]


def signed(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token with any header and claims that our key has signed."""
    text = ".".join(text_of(json.dumps(each).encode()) for each in (header, claims))
    return f"{text}.{text_of(KEY._signature(text.encode()))}"


def public_pem() -> bytes:
    return PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_token_says_what_kubernetes_says() -> None:
    header, claims, _ = parts(issued())
    assert header == {"alg": "ES256", "kid": KEY.id}
    assert claims == {
        "aud": [ISSUER],
        "exp": NOW + 3600,
        "iat": NOW,
        "iss": "https://kubernetes.default.svc.cluster.local",
        "jti": "j1",
        "kubernetes.io": {
            "namespace": "shop",
            "node": {"name": "n1", "uid": "uid-3"},
            "pod": {"name": "web-1", "uid": "uid-2"},
            "serviceaccount": {"name": "web", "uid": "uid-1"},
        },
        "nbf": NOW,
        "sub": "system:serviceaccount:shop:web",
    }


LEGACY = KEY.issue_legacy("web-token", "shop", "web", "uid-1")


def test_a_token_of_a_secret_says_what_kubernetes_says() -> None:
    header, claims, _ = parts(LEGACY)
    assert header == {"alg": "ES256", "kid": KEY.id}
    assert claims == {
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "shop",
        "kubernetes.io/serviceaccount/secret.name": "web-token",
        "kubernetes.io/serviceaccount/service-account.name": "web",
        "kubernetes.io/serviceaccount/service-account.uid": "uid-1",
        "sub": "system:serviceaccount:shop:web",
    }
    found = KEY.read(LEGACY)
    assert isinstance(found, LegacyClaims)
    assert (found.secret, found.uid) == ("web-token", "uid-1")
    longest = KEY.issue_legacy("s" * 253, "n" * 63, "a" * 253, "u" * 36)
    assert KEY.read(longest)


def test_a_token_of_a_secret_is_for_the_api_server_at_any_time() -> None:
    claims = KEY.read(LEGACY)
    for now in (0, NOW, 1 << 40):
        assert check(claims, API_AUDIENCES, now) == API_AUDIENCES
    with pytest.raises(InvalidToken, match="is invalid for the target audiences"):
        check(claims, ("vault",), NOW)


def test_whoever_has_the_key_set_can_check_a_token() -> None:
    [key] = KEY.key_set()["keys"]
    assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
    x, y = (int.from_bytes(bytes_of(key[name]), "big") for name in ("x", "y"))
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    text, _, signature = issued().rpartition(".")
    numbers = bytes_of(signature)
    der = encode_dss_signature(
        int.from_bytes(numbers[:32], "big"), int.from_bytes(numbers[32:], "big")
    )
    public.verify(der, text.encode(), ec.ECDSA(hashes.SHA256()))
    assert parts(issued())[0]["kid"] == key["kid"]


names = st.text(st.characters(codec="utf-8"), max_size=253)


@given(
    namespace=names,
    account=names,
    pod=st.none() | st.builds(Ref, names, names),
    audiences=st.lists(names, max_size=4).map(tuple),
    now=st.integers(0, 1 << 40),
    seconds=st.integers(600, 1 << 32),
)
def test_there_and_back(
    namespace: str,
    account: str,
    pod: Ref | None,
    audiences: tuple[str, ...],
    now: int,
    seconds: int,
) -> None:
    bound = Bound(namespace=namespace, serviceaccount=Ref(account, "u"), pod=pod)
    try:
        token = KEY.issue(bound, audiences, jti="j", now=now, seconds=seconds)
    except ValueError:
        return  # it would be too long
    found = KEY.read(token)
    assert isinstance(found, Claims)
    assert (found.bound, found.aud) == (bound, audiences)
    assert (found.nbf, found.exp) == (now, now + seconds)


@given(st.data())
def test_no_character_can_be_another(data: st.DataObject) -> None:
    token = issued()
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda c: c != token[place]))
    with pytest.raises(InvalidToken):
        KEY.read(token[:place] + other + token[place + 1 :])


@given(st.text())
def test_what_is_none_of_ours_is_refused(text: str) -> None:
    header, claims, signature = issued().split(".")
    for token in (
        text,
        f"{header}.{text}",
        f"{header}.{text}.{signature}",
        f"{header}.{claims}.{text}",
    ):
        if token != issued():
            with pytest.raises(InvalidToken):
                KEY.read(token)


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS256", "ES384", ""])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    """Whatever it is signed with: nothing, the public key as a secret, RSA, or our own key."""
    claims = parts(issued())[1]
    header = {"alg": algorithm, "kid": KEY.id}
    text = ".".join(text_of(json.dumps(each).encode()) for each in (header, claims))
    secret = hmac.HMAC(public_pem(), hashes.SHA256())
    secret.update(text.encode())
    of_rsa = rsa.generate_private_key(65537, 2048).sign(
        text.encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    for signature in (b"", secret.finalize(), of_rsa, KEY._signature(text.encode())):
        with pytest.raises(InvalidToken):
            KEY.read(f"{text}.{text_of(signature)}")


@pytest.mark.parametrize(
    "more",
    [
        {"kid": "other"},
        {"kid": ""},
        {"jwk": KEY.key_set()["keys"][0]},
        {"jku": "https://example.com/keys"},
        {"crit": ["exp"]},
    ],
)
def test_a_header_chooses_nothing(more: dict[str, Any]) -> None:
    header, claims, _ = parts(issued())
    with pytest.raises(InvalidToken):
        KEY.read(signed({**header, **more}, claims))


def test_anothers_signature_is_refused() -> None:
    other = TokenKeys(AccountKeys(ec.generate_private_key(ec.SECP256R1())))
    text = issued().rpartition(".")[0]
    for token in (issued(other), f"{text}.{text_of(other._signature(text.encode()))}"):
        with pytest.raises(InvalidToken):
            KEY.read(token)
    for numbers in (bytes(64), b"\xff" * 64, bytes(32) + b"\x01" * 32):
        with pytest.raises(InvalidToken):
            KEY.read(f"{text}.{text_of(numbers)}")


def test_tokens_of_a_former_key_count_until_it_is_dropped() -> None:
    newer = ec.generate_private_key(ec.SECP256R1())
    keys = TokenKeys(AccountKeys(newer, (PRIVATE.public_key(),)))
    for token in (issued(), LEGACY):
        assert keys.read(token) == KEY.read(token)
    assert parts(issued(keys))[0]["kid"] == keys.id != KEY.id
    assert [key["kid"] for key in keys.key_set()["keys"]] == [keys.id, KEY.id]
    assert keys.key_set()["keys"][1:] == KEY.key_set()["keys"]
    with pytest.raises(InvalidToken):
        KEY.read(issued(keys))
    with pytest.raises(InvalidToken):
        TokenKeys(AccountKeys(newer)).read(issued())


def test_a_token_is_checked_by_the_key_that_it_names() -> None:
    keys = TokenKeys(AccountKeys(ec.generate_private_key(ec.SECP256R1()), (PRIVATE.public_key(),)))
    ours, others = issued().split("."), issued(keys).split(".")
    with pytest.raises(InvalidToken):
        keys.read(".".join((others[0], *ours[1:])))
    with pytest.raises(InvalidToken):
        keys.read(".".join((ours[0], *others[1:])))


@pytest.mark.parametrize("token", [issued(), LEGACY])
def test_claims_are_checked_though_they_are_signed(token: str) -> None:
    claims = parts(token)[1]
    other = {ISSUER: LEGACY_ISSUER, LEGACY_ISSUER: ISSUER}[claims["iss"]]
    wrongs: list[dict[str, Any]] = [
        {"iss": "https://example.com"},
        {"iss": other},
        {"iss": None},
        {"sub": "system:serviceaccount:shop:other"},
        {"sub": "admin"},
        {"sub": None},
    ]
    if other == LEGACY_ISSUER:
        wrongs += [{"exp": "never"}, {"exp": 1e400}, {"aud": ISSUER}, {"kubernetes.io": {}}]
    else:
        wrongs += [{key: None} for key in claims]
        wrongs += [{"kubernetes.io/serviceaccount/namespace": "other"}]
    for wrong in wrongs:
        text = text_of(json.dumps({**claims, **wrong}).encode())
        text = f"{KEY._header}.{text}"
        with pytest.raises(InvalidToken):
            KEY.read(f"{text}.{text_of(KEY._signature(text.encode()))}")


def test_a_token_that_is_too_long_is_neither_issued_nor_read() -> None:
    with pytest.raises(ValueError, match="more than 4096 characters"):
        issued(audiences=("a" * 4000,))
    with pytest.raises(InvalidToken):
        KEY.read(issued() + "A" * TOKEN_MAX_CHARACTERS)
    longest = Bound(
        namespace="n" * 63,
        serviceaccount=Ref("a" * 253, "u" * 36),
        pod=Ref("p" * 253, "u" * 36),
        node=Ref("m" * 253, "u" * 36),
    )
    assert KEY.issue(longest, API_AUDIENCES, jti="j" * 36, now=NOW, seconds=600)


def claims_of(**more: Any) -> Claims:
    values = {"aud": API_AUDIENCES, "exp": NOW + 600, "iat": NOW, "nbf": NOW, **more}
    return Claims(jti="j", bound=BOUND, sub="s", **values)


def test_a_token_has_its_time() -> None:
    for now in (NOW - LEEWAY_SECONDS, NOW, NOW + 600 + LEEWAY_SECONDS):
        assert check(claims_of(), API_AUDIENCES, now) == API_AUDIENCES
    for claims, now, why in (
        (claims_of(), NOW + 601 + LEEWAY_SECONDS, "has expired"),
        (claims_of(nbf=NOW + 61 + LEEWAY_SECONDS), NOW + 60, "is not valid yet"),
        (claims_of(iat=NOW + 61 + LEEWAY_SECONDS), NOW + 60, "is issued in the future"),
    ):
        with pytest.raises(InvalidToken, match=why):
            check(claims, API_AUDIENCES, now)


def test_a_token_is_for_its_audiences() -> None:
    assert check(claims_of(aud=("a", "b", "c")), ("c", "d", "b"), NOW) == ("b", "c")
    with pytest.raises(InvalidToken) as error:
        check(claims_of(aud=("vault",)), API_AUDIENCES, NOW)
    assert str(error.value) == (
        f'token audiences ["vault"] is invalid for the target audiences ["{ISSUER}"]'
    )
    with pytest.raises(InvalidToken):
        check(claims_of(aud=()), API_AUDIENCES, NOW)
