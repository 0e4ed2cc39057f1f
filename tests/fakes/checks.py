"""Looks at containers as a test says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from common.runtime.clock import Clock
from node.probes.base import CheckFailed, HttpAnswer, HttpRequest

Answer = int | str | None
"""A status code, a failure's words, or None for one that hangs."""


@dataclass
class FakeChecks:
    """Answers by port; 200 where nothing is said. `asked` names every question in order."""

    clock: Clock
    answers: dict[int, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def http(self, request: HttpRequest, *, timeout_seconds: float) -> HttpAnswer:
        """The answer of a port."""
        self.asked.append(f"{request.scheme}://{request.host}:{request.port}{request.path}")
        return HttpAnswer(await self._answer(request.port, timeout_seconds), "body")

    async def tcp(self, host: str, port: int, *, timeout_seconds: float) -> None:
        """A port that says a failure's words refuses."""
        self.asked.append(f"tcp://{host}:{port}")
        await self._answer(port, timeout_seconds)

    async def grpc(self, host: str, port: int, service: str, *, timeout_seconds: float) -> None:
        """A port that says a failure's words is not serving."""
        self.asked.append(f"grpc://{host}:{port}/{service}")
        await self._answer(port, timeout_seconds)

    async def _answer(self, port: int, timeout_seconds: float) -> int:
        answer = self.answers.get(port, 200)
        if isinstance(answer, str):
            raise CheckFailed(answer)
        if answer is None:
            if not timeout_seconds:
                await asyncio.Event().wait()
            await self.clock.sleep(timeout_seconds)
            raise CheckFailed("context deadline exceeded")
        return answer

    def of_port(self, port: int) -> Sequence[str]:
        """The questions to one port."""
        return [asked for asked in self.asked if f":{port}" in asked]
