"""Numbers as text: at most three significant digits, with intervals and units; printable names."""

import math
import re
import zlib

NO_VALUE = "-"
_LONGEST_NAME = 80  # Characters of a part of a file name
_FORMULA = tuple("=+-@")  # First characters of a spreadsheet's formula
TOO_FEW = "too few passes"
WIDEST = 2.0  # Largest ratio of the ends of an interval that is printed or drawn
TOO_FEW_NOTE = (
    f"{TOO_FEW.capitalize()} for this machine's noise: an interval wider than a factor of two is "
    "not shown; its mark in figures is open."
)


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
    """Return a number without an interval, at most three significant digits: `1,230`, `12.3`."""
    return NO_VALUE if math.isnan(value) else _rounded(value, _exponent(value, 3) - 2)


def format_ratio(ratio: float) -> str:
    """Return a ratio without an interval in few characters: `48`, `4.8`, `0.48`, `0.005`."""
    if math.isnan(ratio):
        return NO_VALUE
    few = 1 if abs(ratio) < 0.0995 else 2
    exponent = _exponent(ratio, few)
    return _rounded(ratio, exponent - few + (exponent < 2))


def _exponent(value: float, most: int) -> int:
    """Return the power of ten of the first digit of a value that is rounded to `most` digits."""
    return int(f"{value:.{most - 1}e}".partition("e")[2] or 0)


def _rounded(value: float, place: int) -> str:
    """Return a value rounded to a power of ten: `1,230` for 1234 and 1."""
    if not 0 < abs(value) < 1e300:
        return f"{value + 0:.3g}"
    rounded = round(value, -place) + 0  # no -0
    if rounded and abs(place) > 6:
        return f"{rounded:.{_exponent(rounded, 3) - place}e}"
    return f"{rounded:,.{min(max(0, -place), 6)}f}"


def interval(
    value: float,
    low: float = math.nan,
    high: float = math.nan,
    *,
    sign: str = "",
    unit: str = "",
    start: float = 0,
) -> str:
    """Return `4.5 (4.1-5.0)`, or only the value if it has no interval.

    All three are rounded to one power of ten: the largest has three digits, or two where a step of
    the second is at most a quarter of the interval's width. An interval wider than a factor of two
    is `(too few passes)`. `start` is added to both ends before their ratio is taken: 1 for
    differences of shares, which may be zero. `sign` follows the value, `unit` the last number.
    """
    if math.isnan(value + low + high):
        return f"{digits(value)}{unit}"
    width = high - low
    if math.isinf(width) or start + high > WIDEST * max(start + low, 0):
        return f"{format_ratio(value)}{sign}{unit} ({TOO_FEW})"
    place = _exponent(max(map(abs, (value, low, high))), 3) - 2
    if width > 0 and math.log10(width / 4) >= place + 1:
        place += 1
    ends = [_rounded(end, place) for end in (low, high)]
    to = " to " if "-" in "".join(ends) else "-"
    return f"{_rounded(value, place)}{sign} ({to.join(ends)}){unit}"


def speedup(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """Return `4.5x (4.1-5.0)`, or `4.5x`."""
    if math.isnan(low + high) and not math.isnan(value):
        return f"{format_ratio(value)}x"
    return interval(value, low, high, sign="x")


def error(relative: float) -> str:
    """Return `3.1e-07`."""
    return NO_VALUE if math.isnan(relative) else f"{relative:.1e}"


def times(low: float, high: float) -> str:
    """Return `1.9x to 4.6x`, or `1.9x`."""
    return " to ".join(dict.fromkeys((speedup(low), speedup(high))))


def percent(share: float, low: float = math.nan, high: float = math.nan, start: float = 0) -> str:
    """Return `22 (20-25) %`, or `22 %`."""
    if math.isnan(share):
        return NO_VALUE
    if math.isnan(low + high):
        return f"{format_ratio(100 * share)} %"
    return interval(100 * share, 100 * low, 100 * high, unit=" %", start=100 * start)


def whole_percent(share: float) -> str:
    """Return `14 %` or `0 %`, for the parts of one whole."""
    return NO_VALUE if math.isnan(share) else f"{_rounded(100 * share, 0)} %"


_SECONDS = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def _scaled(
    units: tuple[tuple[float, str], ...],
    value: float,
    low: float = math.nan,
    high: float = math.nan,
    whole: float = 0,
) -> str:
    """Return an interval in the largest unit of which its value, or the `whole`, is at least one.

    The width of a part's interval is relative to the whole.
    """
    if math.isnan(value):
        return NO_VALUE
    chosen = abs(float(f"{whole or value:.2e}"))
    scale, name = next((u for u in units if chosen >= u[0]), units[-1])
    ends = (value / scale, low / scale, high / scale)
    return interval(*ends, unit=f" {name}".rstrip(), start=whole / scale)


def time(
    value_s: float, low_s: float = math.nan, high_s: float = math.nan, *, of_s: float = 0
) -> str:
    """Return `14.7 (14.2-15.1) µs`, `14.7 µs` or `15 µs (too few passes)`.

    A part has the unit of the whole, `of_s`, and may be negative.
    """
    return _scaled(_SECONDS, value_s, low_s, high_s, of_s)


def seconds(value: float) -> str:
    """Return `123 µs` for 0.000123."""
    return _scaled(_SECONDS, value)


def size_in_bytes(value: float) -> str:
    """Return `3.00 MiB` for 3145728."""
    return _scaled(((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")), value)


def operations(value: float) -> str:
    """Return `116 M` for 115605504."""
    return _scaled(((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")), value)


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
