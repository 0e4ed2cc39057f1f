"""Requests to Podman's service when connections end at the wrong moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.runtime.offload import Offload
from node.runtime.base import RuntimeUnavailable
from node.runtime.podman_service import PodmanService

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Service:
    """Answers requests until it is told to end connections instead of answering them."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.asked: list[str] = []
        self.ends: list[bool] = []
        """For the next requests: whether their connection ends without an answer."""
        self._closing = False
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._closing:
            connection, _ = self._listening.accept()
            with connection:
                while head := self._head(connection):
                    self.asked.append(head.split(b" ")[0].decode())
                    if self.ends and self.ends.pop(0):
                        break
                    connection.sendall(ANSWER)

    def _head(self, connection: socket.socket) -> bytes:
        """A request; nothing when its client has ended the connection, or the test is over."""
        found = b""
        connection.settimeout(0.05)
        while not found.endswith(b"\r\n\r\n"):
            try:
                more = connection.recv(1)
            except TimeoutError:
                more = b"" if self._closing else None
            if more == b"":
                return b""
            found += more or b""
        return found

    def close(self) -> None:
        self._closing = True
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join()
        self._listening.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "podman.sock")
    yield made
    made.close()


@pytest.fixture
def client(service: Service) -> Iterator[PodmanService]:
    offload = Offload(threads=1)
    made = PodmanService(service.path, offload)
    yield made
    made.close()
    offload.close()


async def test_a_question_is_asked_again_when_its_connection_ends(
    service: Service, client: PodmanService
) -> None:
    assert await client.call("GET", "/version") == {}
    service.ends = [True]
    assert await client.call("GET", "/version") == {}
    assert service.asked == ["GET"] * 3


async def test_once_and_no_more(service: Service, client: PodmanService) -> None:
    service.ends = [True, True]
    with pytest.raises(RuntimeUnavailable, match="Podman does not answer"):
        await client.call("GET", "/version")
    assert service.asked == ["GET"] * 2


async def test_what_changes_something_is_not_repeated(
    service: Service, client: PodmanService
) -> None:
    service.ends = [True]
    with pytest.raises(RuntimeUnavailable):
        await client.call("POST", "/containers/create", body={})
    assert service.asked == ["POST"]
