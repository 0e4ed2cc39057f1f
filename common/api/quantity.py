"""Kubernetes' resource quantities: exact arithmetic on `250m`, `64Mi`, `1e3`.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import math
import re
from decimal import ROUND_UP, Context, Decimal
from functools import lru_cache

from common.api.types import Quantity

_PATTERN = re.compile(
    r"([+-]?)([0-9]{0,100}(?:\.[0-9]{0,100})?)"
    r"(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?[0-9]{1,3})?"
)
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_LARGEST = Decimal(2**63 - 1)
_SMALLEST = Decimal("1e-9")
_EXACT = Context(prec=200, rounding=ROUND_UP)
"""Holds every number that the pattern lets through, times the largest suffix."""
INVALID = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


_FORM = re.compile(r"[+-]?[0-9]*(\.[0-9]*)?[eEinumkKMGTP]*[-+]?[0-9]*")
_BAD_SUFFIX = "unable to parse quantity's suffix"


class InvalidQuantity(ValueError):
    """The text is not a quantity."""


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Decimal, str]:
    """(exact value, format) where format is `binary`, `decimal` or `exponent`."""
    match = _PATTERN.fullmatch(text) if 0 < len(text) <= 100 else None
    if match is None:
        raise InvalidQuantity(_BAD_SUFFIX if text and _FORM.fullmatch(text[:100]) else INVALID)
    sign, digits, suffix = match[1], match[2], match[3] or ""
    number = Decimal(f"0{digits}")
    if suffix in _BINARY:
        number = _EXACT.multiply(number, Decimal(1024 ** _BINARY[suffix]))
        style = "binary"
    elif suffix in _DECIMAL:
        number = number.scaleb(_DECIMAL[suffix], _EXACT)
        style = "decimal"
    else:
        number = number.scaleb(int(suffix[1:]), _EXACT)
        style = "exponent"
    number = min(number, _LARGEST)
    if _EXACT.remainder(number, _SMALLEST):
        number = number.quantize(_SMALLEST, context=_EXACT)
    return (-number if sign == "-" else number), style


def parse(text: str) -> Decimal:
    """The exact value; raises InvalidQuantity in Kubernetes' words."""
    return _parse(text)[0]


def milli(text: str) -> int:
    """The value in thousandths, rounded up: CPU."""
    return math.ceil(parse(text) * 1000)


def whole(text: str) -> int:
    """The value in units, rounded up: bytes, pods."""
    return math.ceil(parse(text))


def _shortest(number: Decimal, style: str) -> str:
    """`number` with the largest suffix that needs no fraction."""
    if number == 0:
        return "0"
    if style == "binary" and abs(number) >= 1024 and number == number.to_integral_value():
        value = int(number)
        for suffix in reversed(_BINARY):
            if value % 1024 ** _BINARY[suffix] == 0:
                return f"{value // 1024 ** _BINARY[suffix]}{suffix}"
        return str(value)
    power = 18
    while number.scaleb(-power) != number.scaleb(-power).to_integral_value():
        power -= 3
    digits = str(int(number.scaleb(-power)))
    if style == "exponent":
        return digits + (f"e{power}" if power else "")
    names = {power: suffix for suffix, power in _DECIMAL.items()}
    return digits + names[power]


@lru_cache(maxsize=4096)
def canonical(text: str) -> Quantity:
    """The one way to write a value: no fraction, the largest suffix; `1000m` is `1`."""
    number, style = _parse(text)
    return Quantity(_shortest(number, style))


def from_milli(value: int) -> Quantity:
    """A quantity of `value` thousandths."""
    return Quantity(_shortest(Decimal(value).scaleb(-3), "decimal"))


def from_nano(value: int) -> Quantity:
    """A quantity of `value` billionths, written in `n` as metrics servers do."""
    return Quantity(f"{value}n" if value else "0")


def from_bytes(value: int) -> Quantity:
    """A quantity of `value` bytes with a binary suffix."""
    return Quantity(_shortest(Decimal(value), "binary"))


def from_kibibytes(value_bytes: int) -> Quantity:
    """Bytes rounded down to whole Ki, as kubelets and metrics servers report memory."""
    return Quantity(f"{value_bytes // 1024}Ki")
