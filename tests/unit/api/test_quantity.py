"""Quantities: the values and forms that Kubernetes' own tests expect."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api import quantity

LARGEST = 2**63 - 1
VALUES = {
    "0": "0",
    "0n": "0",
    "0Ki": "0",
    "1": "1",
    "1Ki": "1024",
    "7Mi": str(7 * 1024**2),
    "6Gi": str(6 * 1024**3),
    "3Ei": str(3 * 1024**6),
    "5n": "5e-9",
    "4u": "4e-6",
    "3m": "0.003",
    "8k": "8000",
    "2P": "2e15",
    "1E": "1e18",
    "1E-3": "0.001",
    "1e3": "1000",
    "1E6": "1e6",
    "100.035k": "100035",
    "0.0005k": "0.5",
    "0.5e-2": "0.005",
    "1.3E+6": "1.3e6",
    "6.987654321G": "6987654321",
    "2.5P": "2.5e15",
    "100.035Ki": "102435.84",
    "0.05Gi": "53687091.2",
    ".001": "0.001",
    "1.": "1",
    "1.G": "1e9",
    "+1": "1",
    "-1": "-1",
    "00001": "1",
    # Less than a billionth is rounded away from zero.
    "3.001n": "4e-9",
    "1.1E-9": "2e-9",
    "0.0000000001": "1e-9",
    "-0.0000000001": "-1e-9",
    "0.00000012345": "124e-9",
    "0.000000000001Ki": "2e-9",
    "123456789.123456789123": "123456789.12345679",
    "1e-999": "1e-9",
    # More than 63 bits is cut.
    "9Ei": str(LARGEST),
    "9223372036854775807Ki": str(LARGEST),
    "-100Ei": str(-LARGEST),
    "1e999": str(LARGEST),
}
FORMS = {
    "1024Mi": "1Gi",
    "307200Ki": "300Mi",
    "1025024Mi": "1001Gi",
    "1024Gi": "1Ti",
    "5000m": "5",
    "0.5": "500m",
    "1000M": "1G",
    "0.001T": "1G",
    "1000u": "1m",
    "1.08": "1080m",
    "1080000000n": "1080m",
    ".001e12": "1e9",
    "0.001e0": "1e-3",
    "1000e-12": "1e-9",
    "80e-3": "80e-3",
    "300e6": "300e6",
    "00": "0",
    "-0": "0",
    "1025Ki": "1025Ki",
    "1.5Gi": "1536Mi",
    "1.1Ki": "1126400m",
    "0.1m": "100u",
    "1.0005": "1000500u",
    "-500m": "-500m",
    "12E": "9223372036854775807",
}
BAD = [
    "",
    " 1",
    "1 ",
    "1\n",
    "1.1.M",
    "1+1.0M",
    "0.1mi",
    "0.1am",
    "aoeu",
    ".5i",
    "1i",
    "-3.01i",
    "-3.01e-",
    "1Ki1",
    "1K",
    "1e",
    "12e3m",
    "1_0",
    "0x10",
    "NaN",
    "Infinity",
    "１",
    "٣",
    "..",
    "--1",
    "1e99999",
]


@pytest.mark.parametrize(("text", "value"), VALUES.items())
def test_values(text: str, value: str) -> None:
    assert quantity.parse(text) == Decimal(value)


@pytest.mark.parametrize(("text", "form"), FORMS.items())
def test_forms(text: str, form: str) -> None:
    assert quantity.canonical(text) == form
    assert quantity.canonical(form) == form


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(quantity.InvalidQuantity) as raised:
        quantity.parse(text)
    assert str(raised.value) in (quantity.INVALID, "unable to parse quantity's suffix")


def test_long_texts_are_refused_at_once() -> None:
    text = "1" * 10_000_000
    started = time.perf_counter()
    with pytest.raises(quantity.InvalidQuantity):
        quantity.parse(text)
    assert time.perf_counter() - started < 0.1


@given(
    st.from_regex(
        r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})"
        r"(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?[0-9]{1,3})?",
        fullmatch=True,
    )
)
def test_the_canonical_form_is_the_same_amount(text: str) -> None:
    form = quantity.canonical(text)
    assert quantity.parse(form) == quantity.parse(text)
    assert quantity.canonical(form) == form


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        quantity.canonical(text)
    except quantity.InvalidQuantity:
        return
    assert text.isascii()


@pytest.mark.parametrize(
    ("text", "milli", "whole"),
    [("1", 1000, 1), ("1m", 1, 1), ("1u", 1, 1), ("1500m", 1500, 2), ("-1500m", -1500, -1)],
)
def test_counting_rounds_up(text: str, milli: int, whole: int) -> None:
    assert (quantity.milli(text), quantity.whole(text)) == (milli, whole)


def test_making_quantities() -> None:
    assert quantity.from_milli(1500) == "1500m"
    assert quantity.from_milli(2000) == "2"
    assert quantity.from_bytes(1 << 20) == "1Mi"
    assert quantity.from_nano(0) == "0"
    assert quantity.from_nano(5) == "5n"
    assert quantity.from_kibibytes(2047) == "1Ki"
