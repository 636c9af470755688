"""Parsing of option values: times such as `90s`, shares such as `2%`, error limits, shapes."""

import math
import re
from collections.abc import Callable

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|min|h)?", re.ASCII)
_UNIT_S = {"ms": 1e-3, None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_MAX_INPUT = 10**7  # along one dimension
_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%)?", re.ASCII)


def named(option: str, read: Callable[[str], float], text: str | None) -> float | None:
    """Return `read(text)`, or None for an option that was not given; its ValueError names it."""
    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise ValueError(f"{option} {error}") from None


def seconds(text: str) -> float:
    """Return seconds for `90s`, `500ms`, `2m`, `1h` or `90`; raises ValueError."""
    match = _DURATION.fullmatch(text)
    value = float(match[1]) * _UNIT_S[match[2]] if match else 0.0
    if not 0 < value < 1e7:
        raise ValueError(
            f"{text!r} is not a time above zero and below 10,000,000 s, such as 10s, 500ms or 2m"
        )
    return value


def fraction(text: str) -> float:
    """Return 0.02 for `2%` or `0.02`; raises ValueError."""
    match = _SHARE.fullmatch(text)
    value = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < value <= 1:
        raise ValueError(f"{text!r} is not a share above zero and up to 100 %, such as 2% or 0.02")
    return value


def read_limit(text: str | float) -> float:
    """Return a largest relative error such as `1e-5`; raises ValueError."""
    try:
        limit = float(text)
    except (TypeError, ValueError):
        limit = math.nan
    if not 0 < limit < math.inf:
        raise ValueError(f"{text!r} is not a relative error above zero, such as 1e-5")
    return limit


def read_shape(text: str) -> tuple[int, ...]:
    """Return `1,3,224,224` or `1x3x224x224` as numbers; raise `ValueError` for other text."""
    parts = [part.strip() for part in text.replace("x", ",").split(",")]
    shape = tuple(int(p) if p.isascii() and p.isdigit() and len(p) < 9 else 0 for p in parts)
    if not all(1 <= length <= _MAX_INPUT for length in shape):
        raise ValueError(
            f"--input {text!r} is not a shape such as 1,3,224,224: whole numbers from 1 to "
            f"{_MAX_INPUT}"
        )
    return shape
