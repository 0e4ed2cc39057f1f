"""Field selectors: `status.phase!=Failed,spec.nodeName=n1` and the fields that they may name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from common.api import labels

COMMON = ("metadata.name", "metadata.namespace")


class Field(NamedTuple):
    """A field that selectors may name, beside name and namespace."""

    absent: str = ""
    """What counts where the object has no such member."""
    paths: tuple[str, ...] = ()
    """Where it stands: the first that is there and not empty; the field's own name by default."""


Fields = dict[str, Field]
"""What the objects of a resource offer, by name."""


def fields(*names: str) -> Fields:
    """Fields that are empty where the object has none."""
    return dict.fromkeys(names, Field())


class InvalidFieldSelector(ValueError):
    """The selector cannot be understood; the text says why."""


class FieldRequirement(NamedTuple):
    """One condition: the field's value equals `value`, or must not."""

    field: str
    value: str
    equal: bool

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Whether an object with these field values satisfies the condition."""
        return (fields[self.field] == self.value) == self.equal


def parse(text: str, offered: Fields) -> tuple[FieldRequirement, ...]:
    """Parse a selector; raises InvalidFieldSelector for syntax and for fields not offered."""
    if len(text) > labels.TEXT_MAX_CHARACTERS:
        limit = labels.TEXT_MAX_CHARACTERS
        raise InvalidFieldSelector(f"the selector is longer than {limit} characters")
    requirements: dict[FieldRequirement, None] = {}
    for term in _terms(text):
        parts = _TERM.fullmatch(term)
        if parts is None:
            raise InvalidFieldSelector(f"invalid selector: '{text}'; can't understand '{term}'")
        name, operator, value = parts.groups()
        _check_known(name, offered)
        requirements[FieldRequirement(name, _unescaped(value), operator != "!=")] = None
    if len(requirements) > labels.REQUIREMENTS_MAX:
        limit = labels.REQUIREMENTS_MAX
        raise InvalidFieldSelector(f"the selector has more than {limit} requirements")
    return tuple(requirements)


_TERM = re.compile("(.*?)(!=|==|=)(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)
_BAD_ESCAPE = re.compile(r"\\(?:[^\\,=]|$)", re.DOTALL)


def _terms(text: str) -> list[str]:
    """The terms between commas that are not escaped, without empty ones."""
    cuts = [match.start() for match in re.finditer(r"\\.|,", text) if match[0] == ","]
    starts = [0, *(cut + 1 for cut in cuts)]
    terms = [text[start:end] for start, end in zip(starts, [*cuts, len(text)], strict=True)]
    return [term for term in terms if term]


def renamed(text: str, names: Mapping[str, str]) -> str:
    """A selector with other names of fields, which are the keys of `names`.

    Raises InvalidFieldSelector for a field that has none; what is no term stays as it is.
    """
    if len(text) > labels.TEXT_MAX_CHARACTERS:
        return text
    made = []
    for term in _terms(text):
        parts = _TERM.fullmatch(term)
        if parts is None:
            return text
        name, operator, value = parts.groups()
        if name not in names:
            raise InvalidFieldSelector(f"field label not supported: {name}")
        made.append(f"{names[name]}{operator}{value}")
    return ",".join(made)


def _check_known(name: str, offered: Fields) -> None:
    if name in COMMON or name in offered:
        return
    if offered:
        raise InvalidFieldSelector(f"field label not supported: {name}")
    only = ", ".join(f'"{known}"' for known in COMMON)
    raise InvalidFieldSelector(f'"{name}" is not a known field selector: only {only}')


def _unescaped(value: str) -> str:
    """A value without its backslashes: they stand before each `\\`, `,` and `=` of it."""
    bad = _BAD_ESCAPE.search(_ESCAPE.sub(lambda e: "" if e[1] and e[1] in "\\,=" else e[0], value))
    if bad:
        raise InvalidFieldSelector(f"invalid field selector: invalid escape sequence: {bad[0]}")
    if "=" in _ESCAPE.sub("", value):
        raise InvalidFieldSelector("invalid field selector: unescaped character in value: 61")
    return _ESCAPE.sub(r"\1", value)


def values(plain: Mapping[str, Any], offered: Fields, wanted: tuple[str, ...]) -> dict[str, str]:
    """The values of `wanted` fields in an object of plain JSON values."""
    return {name: _value(plain, name, offered.get(name, Field())) for name in wanted}


def _value(plain: Mapping[str, Any], name: str, field: Field) -> str:
    for path in field.paths or (name,):
        value = _at(plain, path)
        if value not in (None, ""):
            return ("true" if value else "false") if isinstance(value, bool) else str(value)
    return field.absent


def _at(plain: Any, path: str) -> Any:
    """The member at a path; None when there is none."""
    for part in path.split("."):
        if not isinstance(plain, Mapping):
            return None
        plain = plain.get(part)
    return plain
