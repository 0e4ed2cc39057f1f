"""Paths that are not resources: health, version, discovery, OpenAPI, the CA's certificate."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from aiohttp import web

from common.api import errors
from common.api.codec import json as codec
from master.apiserver.auth.accounttokens import TokenKeys
from master.apiserver.registry.catalogue import Catalogue
from master.apiserver.registry.heavy import LARGE_BYTES, Heavy
from master.apiserver.request import mediatypes
from master.apiserver.rest import discovery, negotiate
from master.apiserver.rest.openapi.documents import OpenAPI

KUBERNETES_VERSION = "v1.36.2"
Checks = dict[str, Callable[[], str]]
"""Readiness checks by name; each answers '' when it is well, else what is wrong."""
Problems = Callable[[], Mapping[str, str]]
"""What is wrong with parts without which the master is still of use, by name."""
ROTATION = "rotation"
_DISCOVERY = ("APIGroupDiscoveryList",)
_YEAR_SECONDS = 31_536_000
# As a Content-Type the @ would not be a media type.
_GNOSTIC = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_VERSION_2 = {
    "application/json": mediatypes.JSON,
    "application/*": mediatypes.JSON,
    "*/*": mediatypes.JSON,
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf": _GNOSTIC,
    _GNOSTIC: _GNOSTIC,
}
"""The Content-Type of OpenAPI v2 by what a client accepts."""


class Rotation(Protocol):
    """The rotation of the authorities."""

    def state(self) -> dict[str, object]:
        """How far it is."""
        ...

    def step(self, name: str, *, force: bool) -> None:
        """Take a step; raises StatusError."""
        ...


class Paths:
    """Answers everything outside of /api/V/... and /apis/G/V/... resources."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        ca_pem: Callable[[], bytes],
        rotation: Rotation,
        ports: Mapping[str, int],
        address: str,
        version: str,
        checks: Checks,
        degraded: Problems,
        heavy: Heavy,
        keys: TokenKeys,
    ) -> None:
        self._catalogue = catalogue
        self._openapi = OpenAPI(catalogue)
        self._openapi.index()  # makes every document now, for it takes longer than a request may
        self._ca_pem = ca_pem
        self._rotation = rotation
        self._ports = dict(ports)
        """Of gRPC, by the credentials that callers have."""
        self._address = address
        self._version = version
        self._checks = checks
        self._degraded = degraded
        self._heavy = heavy
        self._keys = keys

    async def public(
        self, request: web.Request, parts: list[str], parameters: dict[str, str]
    ) -> web.Response:
        """What anybody may ask: health, version, CA certificate."""
        match parts:
            case ["version"]:
                return _json(self._version_info())
            case ["cacerts"]:
                return web.Response(body=self._ca_pem(), content_type="application/x-pem-file")
            case ["livez", *_]:
                return web.Response(text="ok")
            case ["readyz", *_]:
                return self._ready(verbose="verbose" in parameters)
        raise errors.unknown_path()

    def _ready(self, *, verbose: bool) -> web.Response:
        results = {name: check() for name, check in self._checks.items()}
        failed = any(results.values())
        if not failed and not verbose:
            return web.Response(text="ok")
        lines = [
            f"[-]{name} failed: {reason}" if reason else f"[+]{name} ok"
            for name, reason in results.items()
        ]
        lines += [f"[-]{name} is degraded: {why}" for name, why in self._degraded().items()]
        lines.append("readyz check failed" if failed else "readyz check passed")
        return web.Response(status=503 if failed else 200, text="\n".join(lines) + "\n")

    def _version_info(self) -> dict[str, str]:
        major, minor = KUBERNETES_VERSION.removeprefix("v").split(".")[:2]
        return {
            "major": major,
            "minor": minor,
            "gitVersion": f"{KUBERNETES_VERSION}+wherry.{self._version}",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "none",
            "compiler": platform.python_implementation().lower(),
            "platform": f"linux/{_architecture()}",
        }

    async def answer(self, request: web.Request, parts: list[str]) -> web.Response:
        """Discovery, OpenAPI, the list of paths, and the rotation of the authorities."""
        if parts[0] == ROTATION:
            return self._rotate(request, parts[1:])
        if request.method not in ("GET", "HEAD"):
            raise errors.unknown_path()
        match parts:
            case [""]:
                return _json(
                    {
                        "paths": [
                            "/.well-known/openid-configuration",
                            "/api",
                            "/api/v1",
                            "/apis",
                            "/cacerts",
                            "/livez",
                            "/openapi/v2",
                            "/openapi/v3",
                            "/openid/v1/jwks",
                            "/ports",
                            "/readyz",
                            "/version",
                        ]
                    }
                )
            case ["ports"]:
                return _json(self._ports)
            case ["healthz", *_]:
                return self._ready(verbose="verbose" in request.query)
            case ["api"]:
                return self._groups(request, core=True)
            case ["apis"]:
                return self._groups(request, core=False)
            case ["api", version]:
                return _found(discovery.api_resource_list(self._catalogue, "", version))
            case ["apis", group]:
                return _found(discovery.api_group(self._catalogue.scheme, group))
            case ["apis", group, version]:
                return _found(discovery.api_resource_list(self._catalogue, group, version))
            case ["openapi", "v3"]:
                return _json(self._openapi.index())
            case ["openapi", "v3", *rest]:
                return self._document(request, "/".join(rest))
            case [".well-known", "openid-configuration"]:
                return _of_issuer(self._keys.configuration(self._address), mediatypes.JSON)
            case ["openid", "v1", "jwks"]:
                return _of_issuer(self._keys.key_set(), "application/jwk-set+json")
            case ["openapi", "v2"]:
                return await self._version_2(request)
        return web.Response(status=404, text="404 page not found\n")

    def _rotate(self, request: web.Request, parts: list[str]) -> web.Response:
        """What `wherry ca rotate` asks and wants: GET /rotation, POST /rotation/STEP."""
        match request.method, parts:
            case "GET", []:
                pass
            case "POST", [step]:
                self._rotation.step(step, force=request.query.get("force") == "true")
            case _:
                raise errors.unknown_path()
        return _json(self._rotation.state())

    def _groups(self, request: web.Request, *, core: bool) -> web.Response:
        form = negotiate.accepted(request.headers.get("Accept", ""), _DISCOVERY)
        if form.kind:
            plain = discovery.aggregated(self._catalogue, core=core, version=form.version)
            kind = f"application/json;g={form.group};v={form.version};as={form.kind}"
        else:
            plain = (
                discovery.api_versions(self._address)
                if core
                else discovery.api_group_list(self._catalogue.scheme)
            )
            kind = mediatypes.JSON
        body = codec.encode(plain)
        headers = {"Vary": "Accept", "Cache-Control": "public", "Content-Type": kind}
        return _cached(request, body, headers)

    def _document(self, request: web.Request, name: str) -> web.Response:
        body = self._openapi.document(name)
        if body is None:
            return web.Response(status=404, text="404 page not found\n")
        headers = {
            "Vary": "Accept",
            "Cache-Control": f"public, immutable, max-age={_YEAR_SECONDS}",
            "Expires": "Thu, 31 Dec 2099 23:59:59 GMT",
            "Content-Type": mediatypes.JSON,
        }
        return _cached(request, body, headers)

    async def _version_2(self, request: web.Request) -> web.Response:
        """OpenAPI v2. Few clients ask for it, so it is made when the first one does."""
        asked = request.headers.get("Accept", "") or "*/*"
        wanted = (clause.partition(";")[0].strip() for clause in asked.split(","))
        form = next((_VERSION_2[clause] for clause in wanted if clause in _VERSION_2), None)
        if form is None:
            return web.Response(status=406, headers={"Vary": "Accept"})
        make = (
            self._openapi.version_2 if form == mediatypes.JSON else self._openapi.version_2_gnostic
        )
        body = await self._heavy(LARGE_BYTES, make)
        return _cached(request, body, {"Vary": "Accept", "Content-Type": form})


def _cached(request: web.Request, body: bytes, headers: dict[str, str]) -> web.Response:
    """The document, or 304 when the client has it already."""
    tag = discovery.etag(body)
    headers["ETag"] = tag
    if request.headers.get("If-None-Match") == tag:
        headers.pop("Content-Type")
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers)


def _of_issuer(plain: Any, kind: str) -> web.Response:
    """What whoever checks tokens of service accounts may keep for an hour."""
    headers = {"Cache-Control": "public, max-age=3600"}
    return web.Response(body=codec.encode(plain), content_type=kind, headers=headers)


def _json(plain: Any) -> web.Response:
    return web.Response(body=codec.encode(plain), content_type=mediatypes.JSON)


def _found(plain: dict[str, Any] | None) -> web.Response:
    if plain is None:
        return web.Response(status=404, text="404 page not found\n")
    return _json(plain)


def _architecture() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
