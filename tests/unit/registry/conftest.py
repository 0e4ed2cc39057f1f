"""Objects as users write them, taken through a strategy."""

from __future__ import annotations

from typing import Any

import pytest

from common.api.codec import json as codec
from common.api.scheme import SCHEME
from master.apiserver.registry.strategies import strategies
from tests.fakes.clock import FakeClock

STRATEGIES = strategies(SCHEME, cluster_cidr="10.244.0.0/16", clock=FakeClock())


class Writer:
    """Decodes plain values strictly and applies a strategy as the pipeline does."""

    def create(self, resource: str, plain: dict[str, Any]) -> Any:
        """The object after preparation and defaults."""
        strategy = STRATEGIES[resource]
        obj: Any = self.decode(resource, plain)
        strategy.prepare_create(obj)
        strategy.default(obj)
        return obj

    def decode(self, resource: str, plain: dict[str, Any]) -> Any:
        """The Struct of plain values; raises StatusError for what does not fit."""
        cls = SCHEME.struct_of(STRATEGIES[resource].resource)
        obj, findings = codec.convert_request(plain, cls)
        assert findings == []
        return obj

    def create_problems(self, resource: str, plain: dict[str, Any]) -> list[str]:
        """What is wrong with a new object."""
        strategy = STRATEGIES[resource]
        return [str(finding) for finding in strategy.validate(self.create(resource, plain))]

    def update(self, resource: str, new: dict[str, Any], old: dict[str, Any]) -> Any:
        """The object that an update makes of `old`."""
        strategy = STRATEGIES[resource]
        changed = self.decode(resource, new)
        strategy.prepare_update(changed, self.create(resource, old))
        strategy.default(changed)
        return changed

    def update_problems(self, resource: str, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
        """What is wrong with an update."""
        strategy, changed = STRATEGIES[resource], self.update(resource, new, old)
        found = strategy.validate(changed)
        found = found or strategy.validate_update(changed, self.create(resource, old))
        return [str(finding) for finding in found]


@pytest.fixture
def writer() -> Writer:
    """One for each test; it has no state."""
    return Writer()
