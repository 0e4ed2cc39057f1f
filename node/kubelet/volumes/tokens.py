"""Tokens of service accounts for the volumes of pods: asked of the master, kept in memory only.

A token is asked for anew when four fifths of its life are over, or a day. Its times count by this
machine's own clock from when it came. Source: k8s.io/kubernetes pkg/kubelet/token.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from common.api.codec import json as codec
from common.api.types.authentication_v1 import (
    BoundObjectReference,
    TokenRequest,
    TokenRequestSpec,
)
from common.api.types.core_v1 import Pod, ServiceAccountTokenProjection
from common.runtime.clock import Clock
from common.runtime.rng import Rng
from node.kubelet.spec.env import TokenKey
from node.kubelet.spec.texts import ConfigError
from node.session.tokens import NoToken

log = logging.getLogger(__name__)
SHARE = 0.8
"""Of its life, after which a token is asked for anew."""
AGE_MAX_SECONDS = 24 * 3600.0
JITTER_SECONDS = 10.0
RETRY_SECONDS = 60.0
"""When a token could not be had though the former one is still good."""
SECONDS = 3600
"""Of a source that does not say."""
Ask = Callable[[str, str, bytes], Awaitable[bytes]]
"""(namespace, service account, TokenRequest in JSON): the answer. Raises NoToken."""
Published = Callable[[str], Awaitable[str]]
"""Takes the path of a file in the pod's volumes, `VOLUME/PATH`; what stands there, or ''."""


@dataclass(slots=True)
class _Token:
    """A token, and until when, on this machine's clock, it is good."""

    text: str = field(repr=False)
    renew_at: float
    expires_at: float


@dataclass(slots=True)
class _Held:
    """The tokens of a pod, and how often they were renewed."""

    tokens: dict[TokenKey, _Token] = field(default_factory=dict)
    renewals: int = 0

    def due(self, now: float) -> set[TokenKey]:
        """Those that are to be renewed."""
        return {key for key, token in self.tokens.items() if token.renew_at <= now}


class Tokens:
    """The tokens of all pods of this machine."""

    def __init__(self, ask: Ask, *, clock: Clock, rng: Rng) -> None:
        self._ask = ask
        self._clock = clock
        self._rng = rng
        self._held: dict[str, _Held] = {}

    def version(self, pod: Pod) -> str:
        """Changes when the pod's volumes are to be made anew for the sake of their tokens."""
        held = self._held.get(pod.metadata.uid)
        return str(held.renewals + bool(held.due(self._clock.monotonic()))) if held else "0"

    def waits(self, pod: Pod) -> list[float]:
        """In how many seconds the version changes by itself; empty when it does not."""
        held, now = self._held.get(pod.metadata.uid), self._clock.monotonic()
        tokens = held.tokens.values() if held and not held.due(now) else ()
        return [token.renew_at - now for token in tokens]

    async def of(self, pod: Pod, published: Published) -> dict[TokenKey, str]:
        """Every token that a pod's volumes want, those that are due asked for anew.

        Raises ConfigError when there is none that is still good.
        """
        places = wanted(pod)
        if not places:
            return {}
        held = self._held.setdefault(pod.metadata.uid, _Held())
        due = held.due(self._clock.monotonic())
        for key, place in places.items():
            if key in due or key not in held.tokens:
                former = held.tokens.get(key)
                held.tokens[key] = await self._renewed(pod, key, former, partial(published, place))
        held.renewals += bool(due)
        return {key: held.tokens[key].text for key in places}

    def forget(self, pod_uid: str) -> None:
        """The pod has no volumes any more."""
        self._held.pop(pod_uid, None)

    async def _renewed(
        self,
        pod: Pod,
        key: TokenKey,
        former: _Token | None,
        published: Callable[[], Awaitable[str]],
    ) -> _Token:
        """A new token, or for a while the former one.

        Where a kubelet has begun anew that is the one in the volume: its pods go on while no master
        is there.
        """
        try:
            return await self._asked(pod, key)
        except NoToken as error:
            now = self._clock.monotonic()
            if former is None and (text := await published()):
                former = _Token(text, now, now + key[1])
            account = f"{pod.metadata.namespace}/{pod.spec.serviceAccountName}"
            if former is None or former.expires_at <= now:
                raise ConfigError(f"failed to fetch token of {account}: {error}") from error
            log.warning("a token is kept", extra={"object": account, "error": str(error)})
            return _Token(former.text, now + RETRY_SECONDS, former.expires_at)

    async def _asked(self, pod: Pod, key: TokenKey) -> _Token:
        meta, now = pod.metadata, self._clock.monotonic()
        body = codec.encode(request(pod, key))
        answer = await self._ask(meta.namespace, pod.spec.serviceAccountName, body)
        answered = codec.decode(answer, TokenRequest)
        seconds = float(answered.spec.expirationSeconds or key[1])
        after = min(SHARE * seconds, AGE_MAX_SECONDS) - self._rng.random() * JITTER_SECONDS
        return _Token(answered.status.token, now + after, now + seconds)


def sources(pod: Pod) -> Iterator[tuple[str, ServiceAccountTokenProjection]]:
    """(name of the volume, source) of every token in a pod's volumes. Pure."""
    for volume in pod.spec.volumes:
        for source in volume.projected.sources if volume.projected is not None else ():
            if source.serviceAccountToken is not None:
                yield volume.name, source.serviceAccountToken


def key_of(source: ServiceAccountTokenProjection) -> TokenKey:
    """Sources of the same key share a token."""
    return source.audience, source.expirationSeconds or SECONDS


def wanted(pod: Pod) -> dict[TokenKey, str]:
    """The tokens that a pod's volumes want, each with a place where it stands."""
    return {key_of(source): f"{name}/{source.path}" for name, source in sources(pod)}


def request(pod: Pod, key: TokenKey) -> TokenRequest:
    """What the master is asked: a token that ends with the pod."""
    audience, seconds = key
    meta = pod.metadata
    ref = BoundObjectReference(apiVersion="v1", kind="Pod", name=meta.name, uid=meta.uid)
    return TokenRequest(
        spec=TokenRequestSpec(
            audiences=(audience,) if audience else (),
            expirationSeconds=seconds,
            boundObjectRef=ref,
        )
    )


def owner(pod: Pod) -> int | None:
    """The user that all containers run as, when they say so: then the token is for nobody else.

    Source: k8s.io/kubernetes pkg/volume/util, FsUserFrom.
    """
    of_pod = pod.spec.securityContext.runAsUser if pod.spec.securityContext is not None else None
    users = set()
    for container in (*pod.spec.initContainers, *pod.spec.containers):
        context = container.securityContext
        own = context.runAsUser if context is not None else None
        users.add(of_pod if own is None else own)
    return users.pop() if len(users) == 1 else None
