"""A master that nodes can join, and nothing else: two pages over HTTPS."""

import base64
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from common.runtime.clock import SystemClock
from common.runtime.rng import SystemRng
from common.security.ca import CLIENT, CertificateAuthority, Leaf, pin
from common.security.tokens import new_token


class Master:
    """A master's two pages that a joining node needs."""

    def __init__(self, directory: Path) -> None:
        self.authority = CertificateAuthority.create("wherry", SystemClock())
        self.token = new_token(pin(self.authority.certificate_pem), SystemRng())
        self.cacerts = self.authority.certificate_pem
        self.requests: list[tuple[str, str, str]] = []
        self.polls_before_signing = 2
        self.denied = ""
        self.ports: Any = {"certificates": 7444, "tokens": 7445}
        self._request = b""
        self._directory = directory
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._serve_as(self.authority)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def _serve_as(self, authority: CertificateAuthority) -> None:
        pair = authority.issue_server("master", addresses=["127.0.0.1"])
        file = self._directory / "serving.pem"
        file.write_bytes(pair.certificate_pem + pair.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def become(self, authority: CertificateAuthority) -> None:
        """Present certificates of another authority from now on."""
        pair = authority.issue_server("master", addresses=["127.0.0.1"])
        file = self._directory / "other.pem"
        file.write_bytes(pair.certificate_pem + pair.key_pem)
        socket: Any = self._server.socket
        socket.context.load_cert_chain(file)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        master = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                master.note(self)
                if self.path == "/cacerts":
                    master.answer(self, 200, master.cacerts)
                elif self.path == "/ports":
                    master.answer(self, 200, json.dumps(master.ports).encode())
                else:
                    master.answer(self, 200, json.dumps(master.signing_request()).encode())

            def do_POST(self) -> None:
                master.note(self)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                master.take(body)
                master.answer(self, 201, json.dumps({"metadata": {"name": "csr-1"}}).encode())

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def note(self, handler: BaseHTTPRequestHandler) -> None:
        """Remember a request and its credentials."""
        credentials = handler.headers.get("Authorization", "")
        self.requests.append((handler.command, handler.path, credentials))

    def answer(self, handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        """Answer a request."""
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def take(self, body: dict[str, Any]) -> None:
        """A signing request comes."""
        assert body["spec"]["signerName"] == "kubernetes.io/kube-apiserver-client-kubelet"
        self._request = base64.b64decode(body["spec"]["request"])

    def signing_request(self) -> dict[str, Any]:
        """The request as it is now: signed after a few looks."""
        if self.denied:
            condition = {"type": "Denied", "message": self.denied}
            return {"status": {"conditions": [condition]}}
        self.polls_before_signing -= 1
        if self.polls_before_signing >= 0:
            return {"status": {}}
        leaf = Leaf(
            common_name="system:node:node1", organizations=("system:nodes",), usages=(CLIENT,)
        )
        signed = self.authority.sign_request(self._request, leaf)
        return {"status": {"certificate": base64.b64encode(signed).decode()}}

    def secrets_heard(self) -> list[str]:
        """Every credential that was sent."""
        return [credentials for _, _, credentials in self.requests if credentials]

    def stop(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
