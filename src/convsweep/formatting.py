"""Numbers as text: three significant digits with units and intervals; names as printable text."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable

NOT_MEASURED = "not measured"
_LONGEST_NAME = 80  # Characters of a part of a file name
_FORMULA = tuple("=+-@")  # First characters of a spreadsheet's formula
TOO_FEW = "too few passes"
WIDEST = 2.0
"""Largest ratio of the ends of an interval that is printed or drawn."""
TOO_FEW_NOTE = f"{TOO_FEW}: the interval is wider than a factor of two, and is not shown."


def compact(size: str) -> str:
    """Return `3` for `3x3`, and `3x5` unchanged."""
    sides = set(size.split("x"))
    return sides.pop() if len(sides) == 1 else size


def shorten(label: str, most: int = 36) -> str:
    """Return the end of a long label, cut at a word or dot: `…block7.dw C512 14x14 k3 dw`."""
    if len(label) <= most:
        return label
    ends = (found.end() for found in re.finditer(r"[ .]", label))
    cut = next((end for end in ends if len(label) - end < most), None)
    return "…" + (label[1 - most :] if cut is None else label[cut:])


def printable(text: str) -> str:
    r"""Return text with visible escapes, such as `\x1b` or `\u202e`, for what has no glyph.

    Each output applies it to all its texts: a name is data and may come from anywhere.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else visible_escape(c) for c in text)


def visible_escape(character: str) -> str:
    r"""Return `\n` for a line break."""
    return character.encode("unicode_escape").decode()


def spreadsheet_cell(text: str) -> str:
    """Return text that a spreadsheet shows and never computes: `'=1+1` for `=1+1`."""
    return f"'{printable(text)}" if text.startswith(_FORMULA) else printable(text)


def slug(text: str) -> str:
    """Return text for a file name: `cuda_0_float16` for `cuda:0, float16`.

    A text that is long or has characters beyond ASCII ends in its checksum.
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    if 0 < len(name) <= _LONGEST_NAME and text.isascii() and text.isprintable():
        return name
    checksum = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return f"{name[:_LONGEST_NAME]}_{checksum:08x}".strip("_")


def digits(value: float) -> str:
    """Return three significant digits, or `not measured` for NaN."""
    if math.isnan(value):
        return NOT_MEASURED
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    rounded = float(f"{value:.2e}")
    exponent = math.floor(math.log10(abs(rounded)))
    return f"{rounded:.2e}" if exponent < -4 else f"{rounded:,.{max(0, 2 - exponent)}f}"


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    if math.isnan(value):
        return NOT_MEASURED
    scale, unit = next((u for u in units if abs(float(f"{value:.2e}")) >= u[0]), units[-1])
    return f"{digits(value / scale)} {unit}"


_SECONDS = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def seconds(value: float) -> str:
    """Return `123 µs` for 0.000123."""
    return _scaled(value, _SECONDS)


def size_in_bytes(value: float) -> str:
    """Return `3.00 MiB` for 3145728."""
    return _scaled(value, ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")))


def operations(value: float) -> str:
    """Return `116 M` for 115605504."""
    return _scaled(value, ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))).rstrip()


def format_ratio(speedup: float) -> str:
    """Return at most two significant digits: `48`, `4.8`, `0.48`, `0.005`."""
    for least, digits in ((9.95, 0), (0.995, 1), (0.0995, 2)):
        if speedup >= least:
            return f"{speedup:.{digits}f}"
    return f"{float(f'{speedup:.1g}'):f}".rstrip("0") if speedup >= 1e-5 else f"{speedup:.0e}"


def times(low: float, high: float) -> str:
    """Return `1.9 to 4.6 times`."""
    ends = dict.fromkeys((format_ratio(low), format_ratio(high)))
    return f"{' to '.join(ends)} times"


def interval(
    value: float,
    low: float,
    high: float,
    *,
    write: Callable[[float], str] = digits,
    start: float = 0,
) -> str:
    """Return `1.92 [1.85, 1.99]`, or only the value if it has no interval.

    An interval wider than a factor of two is `[too few passes]`. `start` is added to both ends
    before their ratio is taken: 1 for differences of shares, which may be zero.
    """
    if any(map(math.isnan, (value, low, high))):
        return write(value)
    wide = start + high > WIDEST * max(start + low, 0)
    return f"{write(value)} [{TOO_FEW if wide else f'{write(low)}, {write(high)}'}]"


def time(value_s: float, low_s: float, high_s: float) -> str:
    """Return `14.7 [12.3, 17.5] µs` for seconds, in the unit of the first."""
    unit = seconds(value_s).rpartition(" ")[2]
    scale = next((scale for scale, name in _SECONDS if name == unit), math.nan)
    if math.isnan(scale):
        return NOT_MEASURED
    return f"{interval(value_s, low_s, high_s, write=lambda end: digits(end / scale))} {unit}"


def percent(share: float, low: float = math.nan, high: float = math.nan, start: float = 0) -> str:
    """Return `22.0 [20.1, 24.9] %`, or only the value if it has no interval."""
    if math.isnan(share):
        return NOT_MEASURED
    return f"{interval(share, low, high, write=lambda end: digits(100 * end), start=start)} %"


def count(number: int, noun: str) -> str:
    """Return `1 problem` or `2 problems`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def join(words: list[str]) -> str:
    """Return `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def error_line(error: BaseException) -> str:
    """Return `KeyError: 'x'`: an exception's class and message, if it has one, as one line."""
    try:
        text = f"{error}"
    except BaseException:  # foreign code
        text = ""
    return one_line(f"{type(error).__name__}: {text}").removesuffix(":")


def one_line(text: str) -> str:
    """Return text as one line of at most 300 printable characters."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r" +", " ", printable).strip()[:300]
