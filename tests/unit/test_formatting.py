"""Numbers: short, and as precise as their interval. Names of files: bounded and plain."""

import ast
import math
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convsweep import formatting
from convsweep.formatting import TOO_FEW, WIDEST, slug

NUMBER = r"-?[\d.,]+(?:e[-+]?\d+)?"
INTERVAL = re.compile(rf"({NUMBER})x? \(({NUMBER})(?:-| to )({NUMBER})\)")
positive = st.floats(1e-30, 1e30)
narrow = st.tuples(positive, st.floats(0.0, 0.29), st.floats(0.0, 0.29)).map(
    lambda drawn: (drawn[0], drawn[0] * (1 - drawn[1]), drawn[0] * (1 + drawn[2]))
)
"""Value and ends of an interval that is narrow enough to be shown."""


def significant(number: str) -> int:
    """Return the number of digits from the first one that counts to the last one shown."""
    whole, point, _ = re.sub(r"e.*|[-,]", "", number).partition(".")
    shown = re.sub(r"e.*|[-,.]", "", number).lstrip("0")
    return len(shown if point else whole.lstrip("0").rstrip("0"))


def parsed(number: str) -> float:
    return float(number.replace(",", ""))


@given(narrow)
@example((9.996, 9.99, 10.01))
@example((1.0, 1.0, 1.0))
@example((1.0, 0.95, 1.05))
@example((998e-6, 950e-6, 1050e-6))
@example((5_410_000.0, 4_000_000.0, 6_000_000.0))
@example((9.07e-6, 8e-6, 1e-5))
def test_all_numbers_of_an_interval_have_three_digits_and_its_precision(drawn) -> None:
    for text in (formatting.interval(*drawn), formatting.speedup(*drawn)):
        numbers = INTERVAL.fullmatch(text).groups()
        width = drawn[2] - drawn[1]
        least = 10.0 ** (math.floor(math.log10(max(drawn))) - 2)  # three digits of the largest
        for shown, exact in zip(numbers, drawn, strict=True):
            assert significant(shown) <= 3
            rounding = max(width / 8, 5.01 * least if max(drawn) > 9.9 * 100 * least else least / 2)
            assert abs(parsed(shown) - exact) <= rounding * 1.001
        assert parsed(numbers[1]) <= parsed(numbers[0]) <= parsed(numbers[2])


@given(positive, st.floats(0.1, 100), st.floats(0.1, 100))
def test_ends_further_apart_than_a_factor_of_two_are_never_shown(low, middle, times) -> None:
    high, value = low * times, low * middle
    if high < low:
        low, high = high, low
    for write in (formatting.interval, formatting.speedup, formatting.time, formatting.percent):
        text = write(value, low, high)
        assert (TOO_FEW in text) == (high > WIDEST * low)
        assert TOO_FEW not in text or len(re.findall(r"\d[\d.,]*", text.split(" (")[0])) >= 1


@given(st.floats(-1e307, 1e307))
@example(0.0)
@example(-0.0)
@example(-math.inf)
@example(99.96)
@example(1.7e307)
@example(1e300)
@example(5e-324)
def test_a_number_has_at_most_three_digits_and_keeps_its_sign(value: float) -> None:
    for write in (formatting.digits, formatting.format_ratio):
        text = write(value)
        assert significant(text) <= 3
        assert math.isclose(parsed(text), value, rel_tol=0.5, abs_tol=1e-300)
        assert not text.startswith("-0.0") or value < 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formatting.speedup(4.51, 4.12, 5.03), "4.5x (4.1-5.0)"),
        (formatting.speedup(1.053, 0.992, 1.114), "1.05x (0.99-1.11)"),
        (formatting.speedup(1, 0.9999, 1.0001), "1.00x (1.00-1.00)"),
        (formatting.speedup(4.51), "4.5x"),
        (formatting.speedup(4.51, 2, 9), "4.5x (too few passes)"),
        (formatting.time(14.7e-6, 14.2e-6, 15.1e-6), "14.7 (14.2-15.1) µs"),
        (formatting.time(14.7e-6, 12.3e-6, 17.5e-6), "15 (12-18) µs"),
        (formatting.time(998e-6, 950e-6, 1050e-6), "1,000 (950-1,050) µs"),
        (formatting.percent(0.2204, 0.2009, 0.2491), "22 (20-25) %"),
        (formatting.percent(0.2204), "22 %"),
        (formatting.whole_percent(0.1352), "14 %"),
        (formatting.whole_percent(-0.001), "0 %"),
        (formatting.percent(0.72, 0.54, 0.96), "72 (54-96) %"),
        (formatting.percent(-0.008, -0.026, 0.01, start=1), "-0.8 (-2.6 to 1.0) %"),
        (formatting.times(1.91, 4.6), "1.9x to 4.6x"),
        (formatting.times(1.91, 1.92), "1.9x"),
    ],
)
def test_one_convention(text: str, expected: str) -> None:
    assert text == expected


def test_no_value_is_a_dash() -> None:
    writers = (
        formatting.digits, formatting.format_ratio, formatting.interval, formatting.speedup,
        formatting.time, formatting.seconds, formatting.percent, formatting.error,
        formatting.size_in_bytes, formatting.operations, formatting.whole_percent,
    )  # fmt: skip
    assert {write(math.nan) for write in writers} == {formatting.NO_VALUE}


def test_only_this_module_writes_decimals() -> None:
    package = Path(formatting.__file__).parent
    parts = ("report", "analysis", "cli", "models/advise", "models/optimize/report.py")
    files = [file for part in parts for file in (package / part, *(package / part).rglob("*.py"))]
    for file in filter(Path.is_file, files):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
                spec = ast.unparse(node.format_spec)
                assert not re.search(r"\.[1-9]\d*[fe%]|%", spec), f"{file}:{node.lineno}"


@given(st.text())
@example("x" * 300)
@example("../../etc/passwd\0")
@example("")
@example("\udcff")
def test_a_part_of_a_file_name_is_short_and_plain(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]{1,100}", slug(text))


def test_names_that_were_shortened_still_differ() -> None:
    names = ["x" * 300, "x" * 301, "模型", "模块", "", "net", "net\0"]
    assert len({slug(name) for name in names}) == len(names)
    assert slug("cuda:0, float16") == "cuda_0_float16"
