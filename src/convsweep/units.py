"""Times and shares as a user writes them: `90s`, `2%`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|min|h)?", re.ASCII)
_UNIT_S = {"ms": 1e-3, None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SHARE = re.compile(r"(\d+(?:\.\d+)?)(%)?", re.ASCII)


def named(option: str, read: Callable[[str], float], text: str) -> float:
    """What `read` makes of an option's text; its error names the option too."""
    try:
        return read(text)
    except ValueError as error:
        raise ValueError(f"{option} {error}") from None


def seconds(text: str) -> float:
    """`90s`, `500ms`, `2m`, `1h` or `90` in seconds; raises `ValueError` that names the text."""
    match = _DURATION.fullmatch(text)
    value = float(match[1]) * _UNIT_S[match[2]] if match else 0.0
    if not 0 < value < 1e7:
        raise ValueError(
            f"{text!r} is not a time above zero and below 10,000,000 s, such as 10s, 500ms or 2m"
        )
    return value


def fraction(text: str) -> float:
    """`2%` or `0.02` as 0.02; raises `ValueError` that names the text."""
    match = _SHARE.fullmatch(text)
    value = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < value <= 1:
        raise ValueError(f"{text!r} is not a share above zero and up to 100 %, such as 2% or 0.02")
    return value


def read_limit(text: str | float) -> float:
    """A largest relative error such as `1e-5`; raises `ValueError` that names anything else."""
    try:
        limit = float(text)
    except (TypeError, ValueError):
        limit = math.nan
    if not 0 < limit < math.inf:
        raise ValueError(f"{text!r} is not a relative error above zero, such as 1e-5")
    return limit
