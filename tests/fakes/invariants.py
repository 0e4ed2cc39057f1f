"""The invariants of every core that a test makes, checked when it is over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest


class Core(Protocol):
    """What holds of it at all times is code."""

    def check_invariants(self) -> None:
        """Raises AssertionError."""
        ...


@contextmanager
def checked(*kinds: type[Core]) -> Iterator[None]:
    """Check the invariants of every instance that is made meanwhile, at the end."""
    made: list[Core] = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in kinds:
            patch.setattr(kind, "__init__", _remembering(kind.__init__, made))
        yield
    for core in made:
        core.check_invariants()


def _remembering(init: Callable[..., None], made: list[Core]) -> Callable[..., None]:
    def wrapped(self: Core, *args: Any, **keywords: Any) -> None:
        init(self, *args, **keywords)
        made.append(self)

    return wrapped
