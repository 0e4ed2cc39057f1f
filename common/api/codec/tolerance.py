"""How Go, apimachinery and sigs.k8s.io/yaml read scalars where Python and msgspec are stricter.

Used by every codec. Knowingly stricter than they are: no aliases and one document in YAML; no
quantities over 64 bits (they become the largest); no bare `1e3` kept as it was written.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from decimal import Decimal
from typing import Any

_ILLEGAL_BASE64 = re.compile("[^A-Za-z0-9+/]")
_ESCAPES = re.compile(
    rb"\\\\"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class NotBase64(ValueError):
    """The text is not base64; `at` is where Go stops."""

    def __init__(self, at: int) -> None:
        super().__init__(f"illegal base64 data at input byte {at}")


def base64_text(value: Any) -> str:
    """Bytes as clients write them, as the base64 that we keep; raises NotBase64, ValueError.

    Line ends are ignored wherever they stand; a list of numbers is taken as well.
    """
    if isinstance(value, list):
        if not all(type(number) is int for number in value):
            raise ValueError("a list of bytes has other values")
        return base64.b64encode(bytes(value)).decode()
    text = value.replace("\r", "").replace("\n", "")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotBase64(_first_illegal(text)) from error
    return base64.b64encode(data).decode()


def _first_illegal(text: str) -> int:
    """Where Go's decoder stops: at a letter that is none, or in an incomplete group."""
    padding = len(text) - len(text.rstrip("="))
    match = _ILLEGAL_BASE64.search(text, 0, len(text) - (padding if padding < 3 else 0))
    return match.start() if match else max(0, (len(text) - 1) // 4 * 4)


def quantity_text(value: Any) -> str:
    """A quantity as the text that it may also be written as; raises ValueError.

    Bare numbers are quantities, blanks around the text are ignored.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    raise ValueError("not a quantity")


def mended_json(data: bytes) -> bytes:
    """JSON with U+FFFD for halves of surrogate pairs and for bytes that are not UTF-8."""
    data = data.decode("utf-8", "replace").encode()
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)


_TAG = "tag:yaml.org,2002:"
_WORDS = {
    form: value
    for words, value in (
        (("y", "yes", "true", "on"), True),
        (("n", "no", "false", "off"), False),
        (("", "~", "null"), None),
        ((".nan", ".NaN"), math.nan),
        ((".inf", "+.inf"), math.inf),
        (("-.inf",), -math.inf),
    )
    for word in words
    for form in (word, word.capitalize(), word.upper(), word.replace("inf", "Inf"))
}
_YAML_INT = re.compile(
    "([+-]?)(?:0[xX]([0-9a-fA-F]{1,16})|0[bB]([01]{1,64})|0[oO]?([0-7]{1,22})|(0|[1-9][0-9]{0,19}))"
)
_YAML_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INT_MIN, _INT_MAX, _UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
_KINDS = {bool: "bool", type(None): "null", int: "int", float: "float", str: "str"}


def yaml_scalar(text: str, tag: str | None, *, plain: bool) -> Any:
    """A scalar of YAML as JSON has it; raises ValueError for what JSON does not have.

    YAML 1.1 without its base 60 and its dates, which stay text; with `0o644` of YAML 1.2.
    """
    kind = tag.removeprefix(_TAG) if tag and tag.startswith(_TAG) else tag and "str"
    if kind == "binary":
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    if kind in ("str", "timestamp") or not (plain or kind):
        return text
    value = _resolved(text)
    if kind == "float" and type(value) is int:
        value = float(value)
    wanted = _KINDS[type(value)]
    if kind in _KINDS.values() and kind != wanted:
        raise ValueError(f"cannot decode !!{wanted} `{text[:100]}` as a !!{kind}")
    return _as_json(value) if isinstance(value, float) else value


def _resolved(text: str) -> Any:
    """What a plain scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    match = _YAML_INT.fullmatch(digits) if text[0] != "." else None
    if match:
        sign, hexadecimal, binary, octal, decimal = match.groups()
        number = int(
            sign + (hexadecimal or binary or octal or decimal),
            16 if hexadecimal else 2 if binary else 8 if octal else 10,
        )
        if _INT_MIN <= number <= (_INT_MAX if sign else _UINT_MAX):
            return number
    if _YAML_FLOAT.fullmatch(digits):
        value = float(digits)
        return text if math.isinf(value) else value
    return text


def _as_json(value: float) -> int | float:
    """A number as Go writes it into JSON: without a fraction, it is an integer there."""
    if not math.isfinite(value):
        raise ValueError(f"json: unsupported value: {value}")
    if value.is_integer() and abs(value) < 1e21:
        return int(Decimal(repr(value)))
    return value


def yaml_key(key: Any) -> str:
    """A key of YAML as the text that it is in JSON; raises ValueError."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(key)
    if isinstance(key, float):
        return f"{key:g}"
    kind = "<nil>" if key is None else type(key).__name__
    raise ValueError(f"unsupported map key of type: {kind}")
