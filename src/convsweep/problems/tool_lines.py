"""Problems in the notations of benchdnn, MIOpenDriver and oneDNN's verbose lines."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product

from convsweep.problems.problem import ConvProblem

_VERBOSE = re.compile(
    r"(?:mkldnn|dnnl|onednn)_verbose,(?:[^,]*,){0,3}?exec,(?:[^,]*,)?(?P<kind>\w*convolution),"
    r"(?:.*?(?P<direction>(?:for|back)ward\w*),(?P<memory>[^,]*),.*?alg:\w*,(?P<shape>[^,\s]+))?",
    re.ASCII,
)
_MIOPEN = re.compile(r"MIOpenDriver:?\s+(conv\w*)\b(.*)", re.ASCII)
_MIOPEN_OPTION = re.compile(r"(?<!\S)--?([^\s=\"'`]+)(?:[\s=]+(?!-)([^\s\"'`<>|&;]+))?")
_BENCHDNN = re.compile(r"(?:^|.*\s)(?:--(?:dir|dt|cfg|reset|batch|mb)\b|(?:g|mb|ic)\d+_?[a-z])")
_FIELD = re.compile(r"_?(g|mb|[io]c|[iokspd][dhw])(\d{1,9})", re.ASCII)

_MIOPEN_COUNTS = {
    "mb": ("n", "batchsize", 100), "g": ("g", "group_count", 1), "ic": ("c", "in_channels", 3),
    "oc": ("k", "out_channels", 32),
}  # fmt: skip
_MIOPEN_SIZES = {
    "i": ("!HW", "in", 32), "k": ("@yx", "fil", 3), "s": ("#uv", "conv_stride", 1),
    "p": ("$pq", "pad", 0), "d": ("^lj", "dilation", 1), "t": ("%YX", "trans_output_pad", 0),
}  # fmt: skip
"""Options of MIOpenDriver with defaults, by field of a descriptor; sizes per axis d, h and w."""
_LONG_NAMES = {
    "F": "forw", "b": "bias", "m": "mode", "z": "pad_mode", "_": "spatial_dim",
    **{short: name for short, name, _ in _MIOPEN_COUNTS.values()},
    **{short: f"{name}_{axis}" for shorts, name, _ in _MIOPEN_SIZES.values()
       for short, axis in zip(shorts, "dhw", strict=True)},
}  # fmt: skip
_DIRECTIONS = {
    "0": "training", "1": "forward", "2": "backward_input", "4": "backward_weight",
    "FWD_B": "forward", "FWD_D": "forward", "FWD_I": "forward", "forward_training": "forward",
    "forward_inference": "forward", "BWD_D": "backward_input", "backward_data": "backward_input",
    "BWD_W": "backward_weight", "BWD_WB": "backward_weight", "backward_weights": "backward_weight",
}  # fmt: skip
_DTYPES = {
    "f32": "float32", "f64": "float64", "f16": "float16", "bf16": "bfloat16", "conv": "float32",
    "convfp16": "float16", "convbfp16": "bfloat16",
}  # fmt: skip
_FLOATS = re.compile(r"(bf16|f16|f32|f64)(?:(?:bf16|f16|f32|f64|:)*)")
_SIZES = ("stride", "padding", "padding_end", "dilation", "output_padding")
Found = tuple[ConvProblem, str | None, str | None]
"""Problem of one line, its dtype and its direction; None if not given."""


def tool_problems(lines: Sequence[str]) -> Iterator[Found]:
    """Yield the problems of all lines; of a log, only lines of oneDNN and MIOpen are read.

    Raises:
        ValueError: a line is wrong; the message begins with its number.
    """
    is_log = any(_VERBOSE.search(line) or _MIOPEN.search(line) for line in lines)
    if not is_log and not any(map(_BENCHDNN.match, lines)):
        return
    settings: dict[str, str] = {}
    for number, (before, line) in enumerate(pairwise(["", *lines]), start=1):
        try:
            if is_log:
                yield from _logged(line)
            elif not before.rstrip().endswith("\\"):
                yield from _batch(line, settings)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _logged(line: str) -> Iterator[Found]:
    if match := _VERBOSE.search(line):
        if match["shape"] is None:
            raise ValueError("the line of oneDNN is cut off: it has no shape of a convolution")
        dtypes = [_dtype(text) for text in re.findall(r"\b(?:src|wei)[_:](\w+)", match["memory"])]
        bias = re.search(r"bia[_:](?!undef)", match["memory"]) is not None
        problem = read_descriptor(match["shape"], bias, match["kind"] == "deconvolution")
        yield problem, dtypes[0] if dtypes else None, _direction(match["direction"])
    elif match := _MIOPEN.search(line):
        options: dict[str, str] = {}
        for typed, value in _MIOPEN_OPTION.findall(match[2]):
            name = _LONG_NAMES.get(typed, typed)
            if name in _LONG_NAMES.values() and (not value or options.get(name, value) != value):
                raise ValueError(f"option {typed} has {'two values' if value else 'no value'}")
            options[name] = value
        if match[1] not in _DTYPES:
            raise ValueError(f"{match[1]!r} is not measured; conv, convfp16 and convbfp16 are")
        yield _miopen_problem(options), _DTYPES[match[1]], _direction(options.get("forw", "0"))


def _batch(line: str, settings: dict[str, str]) -> Iterator[Found]:
    """Yield the problems of a line for benchdnn; a setting holds until the next or `--reset`."""
    command = line.strip().removesuffix("\\").rpartition("benchdnn ")[2]
    for word in shlex.split(command, comments=True):
        option, _, value = word.partition("=")
        if option == "--reset":
            settings.clear()
        elif option == "--batch":
            raise ValueError(f"{word!r} is another file; name that file instead")
        elif option.startswith("-"):
            settings["--dt" if option == "--cfg" else option] = value
        else:
            if not (batch_size := settings.get("--mb", "0")).isdecimal():
                raise ValueError(f"--mb={batch_size!r} is not a whole number")
            for direction, dtype in product(
                *(settings.get(name, "").split(",") for name in ("--dir", "--dt"))
            ):
                bias = direction.upper() in ("FWD_B", "BWD_WB")
                problem = read_descriptor(word, bias, "--deconv" in settings)
                if int(batch_size):
                    problem = replace(problem, batch_size=int(batch_size))
                yield problem, _dtype(dtype), _direction(direction.upper())


def _dtype(text: str) -> str | None:
    """Return the first dtype of `bf16:bf16:f32`; None without one; refuse all but floats."""
    if text and not (match := _FLOATS.fullmatch(text)):
        raise ValueError(f"data type {text!r} is not measured; f32, f64, f16 and bf16 are")
    return _DTYPES[match[1]] if text and match else None


def _direction(text: str) -> str | None:
    if text and text not in _DIRECTIONS:
        raise ValueError(f"direction {text!r} is not one of {', '.join(_DIRECTIONS)}")
    return _DIRECTIONS.get(text)


def read_descriptor(text: str, bias: bool = False, transposed: bool = False) -> ConvProblem:
    """Return the problem of a descriptor such as `g64mb1_ic64oc64_ih56oh56kh3sh1dh0ph1`.

    As in benchdnn: a batch of 2 and stride 1 if not given, `dh0` for dilation 1, a dimension
    without numbers like the one before it, and padding that follows from the output.
    """
    fields: dict[str, int] = {}
    at = 0
    while match := _FIELD.match(text, at):
        if match[1] in fields:
            raise ValueError(f"descriptor {text!r} has {match[1]} twice")
        fields[match[1]], at = int(match[2]), match.end()
    rest = text[at:].lstrip("_")
    if rest and not rest.startswith("n"):
        raise ValueError(f"descriptor {text!r} has {rest!r} where a field such as ih56 is expected")
    try:
        return _problem(fields, bias, transposed)
    except KeyError as error:
        raise ValueError(f"descriptor {text!r} has no {error.args[0]}") from None


def _miopen_problem(options: Mapping[str, str]) -> ConvProblem:
    def number(name: str, default: int) -> int:
        text = options.get(name, str(default))
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
            raise ValueError(f"{name}={text!r} is not a whole number")
        return int(text)

    if (mode := options.get("pad_mode", "default")) != "default":
        raise ValueError(f"pad_mode={mode!r}: give the padding in numbers, with -p and -q")
    if (rank := number("spatial_dim", 2)) not in (2, 3):
        raise ValueError(f"spatial_dim={rank} is not 2 or 3")
    fields = {field: number(*option[1:]) for field, option in _MIOPEN_COUNTS.items()}
    for place in range(3 - rank, 3):
        for field, (_, name, default) in _MIOPEN_SIZES.items():
            size = number(f"{name}_{'dhw'[place]}", default)
            fields[field + "dhw"[place]] = size - (field == "d")  # 0 is dilation 1
    return _problem(fields, number("bias", 0) > 0, options.get("mode") == "trans")


def _problem(fields: Mapping[str, int], bias: bool, transposed: bool) -> ConvProblem:
    """Return the problem; raise `KeyError` for a missing field."""
    axes: list[str] = []
    for axis in "dhw":
        if any(fields.get(name + axis) for name in "iok"):
            axes.append(axis)
        elif axes:
            axes.append(axes[-1])
    rows = [_dimension(fields, axis, transposed) for axis in axes or "h"]
    size, kernel_size, *others = zip(*rows, strict=True)
    return ConvProblem(
        fields["ic"], fields["oc"], size, kernel_size, batch_size=fields.get("mb", 2),
        groups=max(1, fields.get("g", 1)), bias=bias, transposed=transposed,
        **dict(zip(_SIZES, others, strict=True)),
    )  # fmt: skip


def _dimension(fields: Mapping[str, int], axis: str, transposed: bool) -> tuple[int, ...]:
    """Return size, kernel, and the numbers of `_SIZES`; padding behind follows from the output."""
    size, kernel, stride = fields[f"i{axis}"], fields[f"k{axis}"], fields.get(f"s{axis}", 1)
    dilation, output = fields.get(f"d{axis}", 0) + 1, fields.get(f"o{axis}", 0)
    span = dilation * (kernel - 1) + 1
    few, many = (size, output) if transposed else (output, size)
    total = (few - 1) * stride + span - many if output else 0
    front = fields.get(f"p{axis}", max(0, total) // 2)
    fits = not output or (size + 2 * front - span) // max(1, stride) + 1 == output
    end = front if fits or transposed else total - front
    if end > max(size, span, front):
        raise ValueError(f"o{axis}{output} needs {end} zeros behind an input of i{axis}{size}")
    more = 2 * front - total if output and transposed else fields.get(f"t{axis}", 0)
    return size, kernel, stride, front, end, dilation, more
