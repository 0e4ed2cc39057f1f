"""The built-in resources for the catalogue: the kinds of the .proto files, and their rules.

A kind's rules stand in its own file or folder below this one, as `RULES`; nothing lists them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

from common.api.scheme import Scheme
from master.apiserver import resources
from master.apiserver.registry.catalogue import ResourceDef, Rules
from master.apiserver.registry.handler import Handler
from master.apiserver.registry.stored import Status, Stored
from master.apiserver.registry.strategy import Settings


def rules() -> dict[str, Rules]:
    """The rules of every file here that has some, by plural and group."""
    rules_of: dict[str, Rules] = {}
    for module in pkgutil.walk_packages(resources.__path__, f"{resources.__name__}."):
        rules_of |= getattr(importlib.import_module(module.name), "RULES", {})
    return rules_of


def definitions(
    scheme: Scheme,
    settings: Settings,
    stored: Stored,
    *,
    handlers: Mapping[str, Handler],
    subresources: Mapping[str, Handler],
) -> Iterator[ResourceDef]:
    """Every resource of a scheme.

    `handlers` are of those that are not simply stored, by plural and group; `subresources` answer
    all of that name, or as RESOURCE/NAME those of one resource.
    """
    known = {"status": Status(stored), **subresources}
    own = rules()
    for resource in scheme.resources():
        name = resource.group_resource
        declared = sorted(sub.name for sub in resource.subresources)
        answered = {sub: known.get(f"{name}/{sub}", known.get(sub)) for sub in declared}
        yield own.get(name, Rules()).definition(
            resource,
            settings,
            handlers.get(name, stored),
            {sub: answer for sub, answer in answered.items() if answer is not None},
        )
