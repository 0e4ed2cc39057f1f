"""Selection of objects by label and field selectors, on entries of the watch cache."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from common.api import errors, fields, labels
from common.api.codec import json as codec
from master.storage.entry import Entry

WORK_OF_A_REQUIREMENT = 32
TURN_WORK = 1 << 18
"""Takes three milliseconds or so."""


class Turns:
    """Gives others their turn on the event loop after each few milliseconds of work."""

    def __init__(self) -> None:
        self._work = 0

    async def spent(self, work: int) -> None:
        """So much has been done."""
        self._work += work
        if self._work >= TURN_WORK:
            self._work = 0
            await asyncio.sleep(0)


class Filter(NamedTuple):
    """Both selectors of a request; the empty one lets everything through."""

    offered: fields.Fields
    labels: labels.Selector
    fields: tuple[fields.FieldRequirement, ...]

    @property
    def empty(self) -> bool:
        """Whether everything matches."""
        return not self.labels.requirements and not self.fields

    def work(self, entry: Entry) -> int:
        """What it takes to tell, as bytes of JSON that are read in the same time."""
        data = len(entry.data) if self.fields else 0
        return data + WORK_OF_A_REQUIREMENT * (1 + len(self.labels.requirements))

    def matches(self, entry: Entry) -> bool:
        """Whether the object satisfies both selectors."""
        if self.labels.requirements and not self.labels.matches(entry.labels):
            return False
        if not self.fields:
            return True
        values = {"metadata.name": entry.name, "metadata.namespace": entry.namespace}
        names = tuple(r.field for r in self.fields)
        if any(name not in values for name in names):
            values |= fields.values(codec.decode_plain(entry.data), self.offered, names)
        return all(requirement.matches(values) for requirement in self.fields)


def parse(offered: fields.Fields, label_selector: str, field_selector: str) -> Filter:
    """The filter of a request, by the fields that a resource offers; raises StatusError 400."""
    try:
        return Filter(
            offered,
            labels.parse(label_selector) if label_selector else labels.EVERYTHING,
            fields.parse(field_selector, offered) if field_selector else (),
        )
    except (labels.InvalidSelector, fields.InvalidFieldSelector) as error:
        raise errors.bad_request(str(error)) from error


def renamed(field_selector: str, names: Mapping[str, str]) -> str:
    """A field selector of a view in the names of its source; raises StatusError 400."""
    try:
        return fields.renamed(field_selector, names)
    except fields.InvalidFieldSelector as error:
        raise errors.bad_request(str(error)) from error
