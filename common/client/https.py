"""A few HTTPS requests, one after the other, without an event loop: for joining and for the CLI."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from common.api.errors import StatusError
from common.runtime.reasons import reason
from common.security.keypair import KeyPair

ADMIN_KUBECONFIG = "/var/lib/wherry/master/admin.kubeconfig"
PORTS_EXTENSION = "wherry.dev/grpc-ports"
"""A kubeconfig's cluster says under this name which ports gRPC has; kubectl passes over it."""
TIMEOUT_SECONDS = 10.0
ANSWER_MAX_BYTES = 8 << 20


class ConnectionFailed(Exception):
    """The server cannot be reached or is not what the certificates say; the message says why."""


class HttpsClient:
    """Requests to one server."""

    def __init__(self, url: str, context: ssl.SSLContext, *, bearer: str = "") -> None:
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:  # a port that is no number, an address that is none
            scheme, host, port = "", None, None
        if scheme != "https" or not host:
            raise ConnectionFailed(f"the server must be https://HOST:PORT, not {url}")
        self._host, self._port = host, port or 6443
        self._context = context
        self._bearer = bearer

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """(status, body) of an answer; raises ConnectionFailed."""
        connection = http.client.HTTPSConnection(
            self._host, self._port, context=self._context, timeout=TIMEOUT_SECONDS
        )
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind} if body else {}
        if self._bearer:
            headers["Authorization"] = f"Bearer {self._bearer}"
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read(ANSWER_MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            text = f"cannot reach {self._host}:{self._port}: {reason(error)}"
            raise ConnectionFailed(text) from error
        finally:
            connection.close()
        if len(content) > ANSWER_MAX_BYTES:
            text = f"{path}: the answer has more than {ANSWER_MAX_BYTES >> 20} MiB"
            raise ConnectionFailed(text)
        return answer.status, content

    def json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The decoded answer; raises StatusError when the server says no."""
        data = json.dumps(body).encode() if body is not None else None
        status, answer = self.request(method, path, data)
        try:
            plain = json.loads(answer)
        except ValueError as error:
            raise ConnectionFailed(f"{path} answered {status} and no JSON") from error
        if not isinstance(plain, dict):
            raise ConnectionFailed(f"{path} answered {status} and no JSON object")
        if status >= 300:
            raise StatusError(status, plain.get("reason", ""), plain.get("message", str(status)))
        return plain


def unverified_context() -> ssl.SSLContext:
    """TLS that trusts anybody: only to fetch what is then compared with a pin."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verified_context(ca_pem: bytes) -> ssl.SSLContext:
    """TLS that trusts one authority."""
    return ssl.create_default_context(cadata=ca_pem.decode("ascii"))


def client_context(ca_pem: bytes, pair: KeyPair) -> ssl.SSLContext:
    """TLS that trusts these authorities, and shows a certificate.

    ssl takes certificates from files only: one that only we can read, and only briefly.
    """
    context = verified_context(ca_pem)
    with tempfile.NamedTemporaryFile(prefix="wherry-") as file:
        file.write(pair.certificate_pem + b"\n" + pair.key_pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class KubeConfig:
    """The current context of a kubeconfig file. Raises ConnectionFailed when it has none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        document = self._read()
        current = self._text(document, "current-context")
        context = self._named(document, "contexts", current, "context")
        cluster = self._named(document, "clusters", self._text(context, "cluster"), "cluster")
        self._user = self._named(document, "users", self._text(context, "user"), "user")
        self.server = self._text(cluster, "server")
        extensions = cluster.get("extensions")
        self.extensions = extensions if isinstance(extensions, list) else []
        self._ports = _ports(self.extensions)
        self.ca_pem = self._decoded(cluster, "certificate-authority-data")

    def _read(self) -> dict[str, Any]:
        try:
            document = yaml.safe_load(self._path.read_text("utf-8"))
        except (OSError, UnicodeError) as error:
            text = f"cannot read kubeconfig {self._path}: {reason(error)}"
            raise ConnectionFailed(text) from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise self._unusable("it is not YAML") from error
        if not isinstance(document, dict):
            raise self._unusable("it is not a kubeconfig")
        return document

    def _unusable(self, why: str) -> ConnectionFailed:
        return ConnectionFailed(f"cannot use kubeconfig {self._path}: {why}")

    def _text(self, values: dict[str, Any], key: str) -> str:
        text = values.get(key)
        if not isinstance(text, str) or not text:
            raise self._unusable(f"it has no {key}")
        return text

    def _decoded(self, values: dict[str, Any], key: str) -> bytes:
        try:
            return base64.b64decode("".join(self._text(values, key).split()), validate=True)
        except ValueError as error:
            raise self._unusable(f"its {key} is not base64") from error

    def _named(self, document: dict[str, Any], key: str, name: str, what: str) -> dict[str, Any]:
        """The entry of that name in one of the lists."""
        entries = document.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("name") == name:
                named = entry.get(what)
                return named if isinstance(named, dict) else {}
        raise self._unusable(f"it has no {what} {name!r}")

    @property
    def grpc_port(self) -> int | None:
        """The port of gRPC for the user's credentials, where the file says one."""
        return self._ports.get("certificates" if self.certificate else "tokens")

    @property
    def token(self) -> str:
        """The user's bearer token, or ''."""
        return str(self._user.get("token", ""))

    @property
    def certificate(self) -> KeyPair | None:
        """The user's client certificate, or None."""
        if "client-certificate-data" not in self._user:
            return None
        return KeyPair(
            self._decoded(self._user, "client-certificate-data"),
            self._decoded(self._user, "client-key-data"),
        )

    def client(self) -> HttpsClient:
        """A client with the context's credentials; raises ConnectionFailed for unusable ones."""
        try:
            if self.certificate is None:
                context = verified_context(self.ca_pem)
            else:
                context = client_context(self.ca_pem, self.certificate)
        except (OSError, ValueError) as error:
            raise self._unusable(f"its certificates: {reason(error)}") from error
        return HttpsClient(self.server, context, bearer=self.token)


def chosen(environment: Mapping[str, str], given: str = "") -> KubeConfig:
    """The kubeconfig that is meant: the one given, $KUBECONFIG, or the administrator's on a master.

    Raises ConnectionFailed.
    """
    path = given or environment.get("KUBECONFIG", "")
    if not path and not Path(ADMIN_KUBECONFIG).exists():
        raise ConnectionFailed(
            f"no cluster is named: set KUBECONFIG (its default, {ADMIN_KUBECONFIG}, does not exist)"
        )
    return KubeConfig(Path(path or ADMIN_KUBECONFIG))


def ports_extension(certificates: int, tokens: int) -> dict[str, Any]:
    """The extension of a cluster that names its ports of gRPC."""
    return {
        "name": PORTS_EXTENSION,
        "extension": {"certificates": certificates, "tokens": tokens},
    }


def _ports(extensions: list[Any]) -> dict[str, int]:
    """The ports of gRPC by credentials; whatever is no port is passed over."""
    for entry in extensions:
        if isinstance(entry, dict) and entry.get("name") == PORTS_EXTENSION:
            extension = entry.get("extension")
            items = extension.items() if isinstance(extension, dict) else ()
            return {k: v for k, v in items if type(v) is int and 0 < v < 1 << 16}
    return {}
