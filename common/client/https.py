"""A few HTTPS requests, one after the other, without an event loop: for joining and for the CLI."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from common.api.errors import StatusError
from common.security.ca import KeyPair

ADMIN_KUBECONFIG = "/etc/wherry/admin.kubeconfig"
TIMEOUT_SECONDS = 10.0
ANSWER_MAX_BYTES = 8 << 20


class ConnectionFailed(Exception):
    """The server cannot be reached or is not what the certificates say; the message says why."""


class HttpsClient:
    """Requests to one server."""

    def __init__(self, url: str, context: ssl.SSLContext, *, bearer: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ConnectionFailed(f"the server must be https://HOST:PORT, not {url}")
        self._host, self._port = parts.hostname, parts.port or 6443
        self._context = context
        self._bearer = bearer

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """(status, body) of an answer; raises ConnectionFailed."""
        connection = http.client.HTTPSConnection(
            self._host, self._port, context=self._context, timeout=TIMEOUT_SECONDS
        )
        headers = {"Content-Type": "application/json"} if body else {}
        if self._bearer:
            headers["Authorization"] = f"Bearer {self._bearer}"
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            text = f"{self._host}:{self._port} cannot be reached: {error}"
            raise ConnectionFailed(text) from error
        finally:
            connection.close()

    def json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The decoded answer; raises StatusError when the server says no."""
        data = json.dumps(body).encode() if body is not None else None
        status, answer = self.request(method, path, data)
        try:
            plain = json.loads(answer)
        except ValueError as error:
            raise ConnectionFailed(f"{path} answered {status} and no JSON") from error
        if status >= 300:
            raise StatusError(status, plain.get("reason", ""), plain.get("message", str(status)))
        return dict(plain)


def unverified_context() -> ssl.SSLContext:
    """TLS that trusts anybody: only to fetch what is then compared with a pin."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verified_context(ca_pem: bytes) -> ssl.SSLContext:
    """TLS that trusts one authority."""
    return ssl.create_default_context(cadata=ca_pem.decode("ascii"))


class KubeConfig:
    """The current context of a kubeconfig file. Raises ConnectionFailed when it has none."""

    def __init__(self, path: Path) -> None:
        try:
            document = yaml.safe_load(path.read_text("utf-8"))
            context = _named(document["contexts"], document["current-context"])["context"]
            cluster = _named(document["clusters"], context["cluster"])["cluster"]
            self._user = _named(document["users"], context["user"])["user"]
            self.server = str(cluster["server"])
            self.ca_pem = base64.b64decode(cluster["certificate-authority-data"])
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            raise ConnectionFailed(f"{path} is no kubeconfig: {error}") from error

    @property
    def token(self) -> str:
        """The user's bearer token, or ''."""
        return str(self._user.get("token", ""))

    @property
    def certificate(self) -> KeyPair | None:
        """The user's client certificate, or None."""
        if "client-certificate-data" not in self._user:
            return None
        try:
            return KeyPair(
                base64.b64decode(self._user["client-certificate-data"]),
                base64.b64decode(self._user["client-key-data"]),
            )
        except (KeyError, ValueError) as error:
            raise ConnectionFailed(f"the user of the kubeconfig has no key: {error}") from error

    def client(self) -> HttpsClient:
        """A client with the context's credentials."""
        context = verified_context(self.ca_pem)
        if self.certificate is not None:
            self._load_certificate(context, self.certificate)
        return HttpsClient(self.server, context, bearer=self.token)

    def _load_certificate(self, context: ssl.SSLContext, certificate: KeyPair) -> None:
        """ssl takes certificates from files only: one that only we can read, and only briefly."""
        with tempfile.NamedTemporaryFile(prefix="wherry-") as file:
            file.write(certificate.certificate_pem + b"\n" + certificate.key_pem)
            file.flush()
            context.load_cert_chain(file.name)


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)
