"""Axes of a sweep as text, such as `in_channels=16:512:*2`, and the problems they span."""

import itertools
import math
import operator
import re
from collections.abc import Iterable, Mapping

from convsweep.problems.conv_call import halves, same_padding
from convsweep.problems.problem import ConvProblem, Size, parse_size, per_dimension

MAX_VALUES = 10_000
MAX_PROBLEMS = 100_000

Axis = tuple[str, tuple[str, ...]]
"""A name and its values as text, such as ("in_channels", ("16", "32"))."""

DEFAULTS = {
    "batch_size": "1", "in_channels": "64", "out_channels": "same", "size": "56",
    "kernel_size": "3", "stride": "1", "padding": "same", "dilation": "1", "groups": "1",
    "bias": "0", "transposed": "0", "output_padding": "0",
}  # fmt: skip
"""Every axis and its default value.

`out_channels=same` equals in_channels. `padding=same` keeps the size at stride 1, as torch's does;
of an odd total the larger half is behind the image. `padding=tf_same` is TensorFlow's: ceil(size /
stride) outputs. Transposed convolutions need numbers. A size is one number for a square image, or
one number per dimension: `56x40`, `14x14x14`, and `1024x` for a signal of one dimension.
"""

_RANGE = re.compile(r"(\d{1,9}):(\d{1,9}):([*+])(\d{1,9})", re.ASCII)
_COUNT, _MOST = re.compile(r"\d{1,9}", re.ASCII), 10**9 - 1
_SIZES = ("size", "kernel_size", "stride", "padding", "dilation", "output_padding")
_WORDS = {"out_channels": ("same",), "padding": ("same", "tf_same"), "groups": ("depthwise",)}


def parse_axis(text: str) -> Axis:
    """Return the name and values of `size=14,28`; raise `ValueError` for a wrong name or value."""
    name, equals, values = text.partition("=")
    if name not in DEFAULTS or not equals:
        raise ValueError(f"axis {text!r} is not NAME=VALUES, with NAME of {', '.join(DEFAULTS)}")
    match = _RANGE.fullmatch(values)
    expanded = _expand(text, match) if match else tuple(values.split(","))
    if len(expanded) > MAX_VALUES:
        raise ValueError(f"axis {text!r} has more than {MAX_VALUES} values")
    for value in expanded:
        _require_allowed(text, name, value)
    return name, tuple(dict.fromkeys(expanded))


def _expand(text: str, match: re.Match[str]) -> tuple[str, ...]:
    """Return the values of FIRST:LAST:*FACTOR or FIRST:LAST:+STEP; LAST can be one of them."""
    first, last, step = int(match[1]), int(match[2]), int(match[4])
    values: Iterable[int] = ()
    if match[3] == "+" and step:
        values = range(first, last + 1, step)[: MAX_VALUES + 1]
    elif match[3] == "*" and step > 1 and first:
        powers = itertools.accumulate(itertools.repeat(step), operator.mul, initial=first)
        values = itertools.takewhile(lambda v: v <= last, powers)
    expanded = tuple(map(str, values))
    if not expanded:
        raise ValueError(
            f"axis {text!r} is an empty range: FIRST:LAST:*FACTOR needs FIRST of at least 1 and "
            "FACTOR of at least 2, FIRST:LAST:+STEP needs STEP of at least 1, both FIRST <= LAST"
        )
    return expanded


def _require_allowed(text: str, name: str, value: str) -> None:
    """Raise `ValueError` for a value that this axis cannot have."""
    least = 0 if name.endswith("padding") else 1
    if name in ("bias", "transposed"):
        valid, allowed = value in ("0", "1"), "0, 1"
    elif name in _SIZES:
        valid = _is_size(value, least, signal=name == "size" and value.endswith("x"))
        allowed = f"whole numbers from {least} to {_MOST}, or one per dimension such as 3x1"
    else:
        valid = _COUNT.fullmatch(value) is not None and int(value) >= 1
        allowed = f"whole numbers from 1 to {_MOST}, and ranges such as 4:64:*2"
    words = _WORDS.get(name, ())
    if not valid and value not in words:
        also = "".join(f", or {word}" for word in words)
        raise ValueError(f"axis {text!r}: {value!r} is not allowed, only {allowed}{also}")


def _is_size(value: str, least: int, signal: bool) -> bool:
    """Return whether it is a size; of one dimension, such as `1024x`, for a signal."""
    try:
        size = parse_size(value.removesuffix("x") if signal else value)
    except ValueError:
        return False
    return min(size) >= least and len(size) <= (1 if signal else 3)


def span(axes: Iterable[Axis]) -> list[ConvProblem]:
    """Return the problem of every combination of values once; the last axis varies fastest.

    Raises:
        ValueError: an axis is given twice, or a combination is no possible problem.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for name, values in axes:
        if name in chosen:
            raise ValueError(f"axis {name!r} is given twice; list its values with commas")
        chosen[name] = values
    if math.prod(map(len, chosen.values())) > MAX_PROBLEMS:
        raise ValueError(f"axes {', '.join(chosen)} span more than {MAX_PROBLEMS} problems")
    combinations = [
        dict(zip(chosen, values, strict=True)) for values in itertools.product(*chosen.values())
    ]
    if len({*chosen.get("transposed", ())}) > 1:  # only transposed ones have an output padding
        combinations = [
            one for one in combinations
            if one["transposed"] == "1" or not any(parse_size(one.get("output_padding", "0")))
        ]  # fmt: skip
    return list(dict.fromkeys(map(_problem, combinations)))  # `3` and `3x3` are the same


def _problem(chosen: Mapping[str, str]) -> ConvProblem:
    value = {**DEFAULTS, **chosen}
    names = ("size", "kernel_size", "stride", "dilation")
    sizes = [parse_size(value[name].removesuffix("x")) for name in names]
    rank = 1 if value["size"].endswith("x") else max(2, *map(len, sizes))
    size, kernel_size, stride, dilation = (per_dimension(one, rank) for one in sizes)
    padding, padding_end = _padding(value, size, kernel_size, stride, dilation)
    in_channels, out_channels, groups = value["in_channels"], value["out_channels"], value["groups"]
    return ConvProblem(
        int(in_channels),
        int(in_channels if out_channels == "same" else out_channels),
        size,
        kernel_size,
        batch_size=int(value["batch_size"]),
        stride=stride,
        padding=per_dimension(padding, rank),
        dilation=dilation,
        groups=int(in_channels if groups == "depthwise" else groups),
        bias=value["bias"] == "1",
        padding_end=padding_end and per_dimension(padding_end, rank),
        transposed=value["transposed"] == "1",
        output_padding=per_dimension(parse_size(value["output_padding"]), rank),
    )


def _padding(
    value: Mapping[str, str], size: Size, kernel_size: Size, stride: Size, dilation: Size
) -> tuple[Size, Size | None]:
    """Return the zeros before and behind the image; None behind if as many."""
    padding = value["padding"]
    if padding not in _WORDS["padding"]:
        return parse_size(padding), None
    if value["transposed"] == "1":
        raise ValueError(
            f"transposed=1 needs --axis padding=N; padding={padding} is "
            f"{'the default' if padding == DEFAULTS['padding'] else 'for others'}"
        )
    if len({*map(len, (size, kernel_size, stride, dilation))}) > 1:
        return (0,), None  # the problem's constructor names the size of another rank
    if padding == "same":
        return same_padding(kernel_size, dilation)
    axes = zip(size, kernel_size, stride, dilation, strict=True)
    return halves([max(((i - 1) // s * s + d * (k - 1) + 1 - i), 0) for i, k, s, d in axes])
