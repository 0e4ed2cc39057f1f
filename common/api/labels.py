"""Label selectors: the text form of queries and the LabelSelector of specs, one matcher for both.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping

import msgspec

from common.api import integers, names
from common.api.types.meta_v1 import LabelSelector

TEXT_MAX_CHARACTERS = 16_384
REQUIREMENTS_MAX = 256
"""More than people write; each is compared with every object of a list."""
FEW = 8
Tokens = deque[str]
_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|>|<|[^\s=!(),<>]+)")


class InvalidSelector(ValueError):
    """The selector cannot be understood; the text says why."""


class Requirement(msgspec.Struct, frozen=True, gc=False):
    """One condition: key, operator (in, notin, exists, !, gt, lt) and values.

    There may be hundreds of thousands: the garbage collector need not walk them.
    """

    key: str
    operator: str
    values: tuple[str, ...] | frozenset[str] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` satisfy the condition."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return _compare(value, self.operator, *self.values)


def _compare(value: str | None, operator: str, bound: str) -> bool:
    """`>` and `<` compare whole numbers; anything else does not match."""
    have, limit = integers.parse(value or ""), integers.parse(bound)
    if have is None or limit is None:
        return False
    return have > limit if operator == "gt" else have < limit


class Selector(msgspec.Struct, frozen=True, gc=False):
    """A conjunction of requirements. The empty one matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether `labels` satisfy every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        """The text form, as kubectl prints it."""
        return ",".join(_text(requirement) for requirement in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector((Requirement("", "in", ()),))


def _text(requirement: Requirement) -> str:
    key, operator, values = requirement.key, requirement.operator, requirement.values
    if operator == "exists":
        return key
    if operator == "!":
        return f"!{key}"
    if operator in ("gt", "lt"):
        return f"{key}{'>' if operator == 'gt' else '<'}{''.join(values)}"
    if operator == "in" and len(values) == 1:
        return f"{key}={''.join(values)}"
    return f"{key} {operator} ({','.join(sorted(values))})"


def from_map(labels: Mapping[str, str]) -> Selector:
    """The selector of a ReplicationController or Service: every pair must be there."""
    return Selector(tuple(Requirement(k, "in", (v,)) for k, v in sorted(labels.items())))


def from_label_selector(selector: LabelSelector | None) -> Selector:
    """The selector of a spec; None selects nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    pairs = from_map(selector.matchLabels).requirements
    expressions = tuple(
        Requirement(e.key, operators[e.operator], _lookup(e.values))
        for e in selector.matchExpressions
    )
    return Selector(pairs + expressions)


def _lookup(values: tuple[str, ...]) -> tuple[str, ...] | frozenset[str]:
    """As they are found fastest: there may be thousands."""
    return frozenset(values) if len(values) > FEW else values


def parse(text: str) -> Selector:
    """Parse `a=b,c!=d,e,!f,g in (h,i)`; raises InvalidSelector."""
    if len(text) > TEXT_MAX_CHARACTERS:
        raise InvalidSelector(f"the selector is longer than {TEXT_MAX_CHARACTERS} characters")
    tokens = _tokens(text)
    requirements: dict[Requirement, None] = {}
    while tokens:
        requirements[_requirement(tokens)] = None
        if len(requirements) > REQUIREMENTS_MAX:
            raise InvalidSelector(f"the selector has more than {REQUIREMENTS_MAX} requirements")
        if tokens and (tokens.popleft() != "," or not tokens):
            raise InvalidSelector(f"unable to parse requirement: found unexpected text in '{text}'")
    return Selector(tuple(requirements))


def _tokens(text: str) -> Tokens:
    tokens: Tokens = deque()
    position = 0
    text = text.strip()
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise InvalidSelector(f"unable to parse requirement: {text[position:]!r}")
        tokens.append(token[1])
        position = token.end()
    return tokens


def _requirement(tokens: Tokens) -> Requirement:
    """Consume one requirement from the front of `tokens`."""
    if tokens[0] == "!":
        tokens.popleft()
        return Requirement(_key(tokens), "!")
    key = _key(tokens)
    if not tokens or tokens[0] == ",":
        return Requirement(key, "exists")
    operator = tokens.popleft()
    if operator in ("=", "==", "!="):
        value = tokens.popleft() if tokens and tokens[0] != "," else ""
        _check_value(key, value)
        return Requirement(key, "notin" if operator == "!=" else "in", (value,))
    if operator in (">", "<"):
        value = tokens.popleft() if tokens else ""
        if integers.parse(value) is None:
            raise InvalidSelector(
                f'unable to parse requirement: values[0]: Invalid value: "{value}": '
                "for 'Gt', 'Lt' operators, the value must be an integer"
            )
        _check_value(key, value)
        return Requirement(key, "gt" if operator == ">" else "lt", (value,))
    if operator in ("in", "notin"):
        return Requirement(key, operator, _values(key, tokens))
    raise InvalidSelector(
        f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt"
    )


def _key(tokens: Tokens) -> str:
    key = tokens.popleft() if tokens else ""
    problems = names.qualified_name(key)
    if problems:
        raise InvalidSelector(
            f'unable to parse requirement: <nil>: Invalid value: "{key}": {"; ".join(problems)}'
        )
    return key


def _check_value(key: str, value: str) -> None:
    problems = names.label_value(value)
    if problems:
        raise InvalidSelector(
            f'unable to parse requirement: values[0][{key}]: Invalid value: "{value}": '
            + "; ".join(problems)
        )


def _values(key: str, tokens: Tokens) -> frozenset[str]:
    """The list in parentheses."""
    if not tokens or tokens.popleft() != "(":
        raise InvalidSelector("unable to parse requirement: expected: '('")
    values: list[str] = []
    expect_value = True
    while tokens:
        word = tokens.popleft()
        if word == ")":
            if expect_value:
                values.append("")
            return frozenset(values)
        if word == ",":
            if expect_value:
                values.append("")
            expect_value = True
            continue
        if not expect_value:
            break
        _check_value(key, word)
        values.append(word)
        expect_value = False
    raise InvalidSelector("unable to parse requirement: expected: ',' or ')'")
