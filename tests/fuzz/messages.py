"""Protobuf messages of any type, filled by what their descriptors say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import Message

from tests.fuzz.grammar import NUMBERS, Grammar

DEPTH = 5
TIMES = (0, 1, 1, 1, 2, 5)
"""How often a repeated field is there; seldom it is there MANY times."""
MANY = 1500
FLOATS = (0.0, -1.0, 0.5, 1e308, float("inf"), float("nan"))
BITS = {Field.TYPE_INT32: 32, Field.TYPE_INT64: 64}
Hints = Mapping[str, Callable[[], Any]]
"""Name of a field, or `Message.field` -> what makes a value that means something there."""


class Messages:
    """Makes messages; the same grammar and hints make the same ones."""

    def __init__(self, grammar: Grammar, hints: Hints) -> None:
        self._grammar = grammar
        self._hints = hints

    def fill(self, message: Message, depth: int = DEPTH) -> Message:
        """Set most of the fields of an empty message; of a oneof, one."""
        odds, choose = self._grammar.random.random, self._grammar.random.choice
        for field in message.DESCRIPTOR.fields:
            one_of = field.containing_oneof
            if one_of is not None and choose(one_of.fields) is not field:
                continue
            matters = field.message_type is not None or self._hint(field) is not None
            if one_of is None and odds() < (0.03 if matters else 0.3):
                continue
            if field.message_type is not None and depth == 0:
                continue
            self._set(message, field, depth)
        return message

    def encoded(self, message: Message, damage: float = 0.1) -> bytes:
        """A message filled and serialised; `damage` is how often it is broken, from 0 to 1."""
        data = self.fill(message).SerializeToString()
        if self._grammar.random.random() < damage:
            return self._grammar.one(
                self._grammar.bytes, *[lambda: self._grammar.damaged(data)] * 5
            )
        return data

    def _set(self, message: Message, field: Any, depth: int) -> None:
        if field.is_repeated:
            made = getattr(message, field.name)
            for _ in range(self._times()):
                if field.message_type is not None:
                    self.fill(made.add(), depth - 1)
                else:
                    made.append(self._scalar(field))
        elif field.message_type is not None:
            part = getattr(message, field.name)
            part.SetInParent()
            self.fill(part, depth - 1)
        else:
            setattr(message, field.name, self._scalar(field))

    def _times(self) -> int:
        chance = self._grammar.random
        return MANY if chance.random() < 0.002 else chance.choice(TIMES)

    def _hint(self, field: Any) -> Callable[[], Any] | None:
        full = f"{field.containing_type.name}.{field.name}"
        return self._hints.get(full) or self._hints.get(field.name)

    def _scalar(self, field: Any) -> Any:
        grammar, choose = self._grammar, self._grammar.random.choice
        hint = self._hint(field)
        if hint is not None and grammar.random.random() < 0.985:
            return hint()
        match field.type:
            case Field.TYPE_STRING:
                return grammar.word().encode("utf-8", "replace").decode()
            case Field.TYPE_BYTES:
                return grammar.one(grammar.bytes, lambda: grammar.encoded(grammar.value()))
            case Field.TYPE_BOOL:
                return choose((True, False))
            case Field.TYPE_ENUM:
                return choose((*field.enum_type.values_by_number, 77, -1))
            case Field.TYPE_DOUBLE:
                return choose(FLOATS)
        limit = 1 << (BITS[field.type] - 1)
        return min(max(int(choose(NUMBERS)), -limit), limit - 1)
