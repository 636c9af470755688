"""Parsing of option values."""

import pytest

from convsweep.units import fraction


@pytest.mark.parametrize(
    ("text", "value"), [("2%", 0.02), ("0.02", 0.02), ("1.5%", 0.015), ("100%", 1.0), ("1", 1.0)]
)
def test_a_share_is_a_number_or_a_percentage(text: str, value: float) -> None:
    assert fraction(text) == pytest.approx(value)


BAD = ["", "much", "0", "0%", "0.0", "-2%", "-0.02", "101%", "2", "2 %", "%", "1e-2", "nan", "inf"]


@pytest.mark.parametrize("text", [*BAD, "\u0665%", "2%\n", "9" * 400], ids=repr)
def test_an_invalid_share_is_an_error_with_its_value(text: str) -> None:
    with pytest.raises(ValueError, match="2%") as error:
        fraction(text)
    assert repr(text) in str(error.value)
    assert "100 %" in str(error.value)
