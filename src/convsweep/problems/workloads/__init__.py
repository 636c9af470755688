"""Layers of real networks, and problems from any CSV with the same columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from convsweep.problems.problem import ConvProblem

PROBLEM_COLUMNS = (
    "batch_size",
    "in_channels",
    "height",
    "width",
    "out_channels",
    "kernel_h",
    "kernel_w",
    "stride_h",
    "stride_w",
    "pad_h",
    "pad_w",
    "dilation_h",
    "dilation_w",
    "groups",
    "bias",
)
CONVBENCH = "convbench_sample"
MOBILENET = "mobilenetv1_100"
STANDARD_MOBILENET = "mobilenetv1_100_standard"
"""MobileNetV1 with a standard convolution in place of each pair (Howard et al. 2017, Table 4)."""
MOST_FIELD_BYTES = 10_000


@dataclass(frozen=True)
class Layer:
    """A problem, and where it stands in a network."""

    problem: ConvProblem
    workload: str | None = None
    name: str | None = None
    count: int = 1
    """How often the network has it."""
    role: str = "case"
    """`case`, `roofline` or `separable_part`, as in `results.schema`."""


@cache
def workloads() -> Mapping[str, tuple[Layer, ...]]:
    """The shipped networks and the ConvBench sample; SOURCES.md beside them says whence."""
    folder = files("convsweep.problems.workloads")
    found: dict[str, list[Layer]] = {}
    with folder.joinpath("models.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            layer = Layer(_problem(row), row["model"], row["layer"], int(row["count"]))
            found.setdefault(row["model"], []).append(layer)
    found[STANDARD_MOBILENET] = standard_network(found[MOBILENET], STANDARD_MOBILENET)
    with folder.joinpath(f"{CONVBENCH}.csv").open(encoding="utf-8") as file:
        found[CONVBENCH] = [
            Layer(_problem(row), CONVBENCH, f"{row['kind']}.{number}", int(row["uses"]))
            for number, row in enumerate(csv.DictReader(file))
        ]
    return {name: tuple(layers) for name, layers in found.items()}


def standard_network(layers: Sequence[Layer], workload: str) -> list[Layer]:
    """A separable network's layers, each pair `NAME.dw`, `NAME.pw` as the convolution it replaces.

    That one goes from the depthwise half's input to the pointwise half's output; its name is NAME,
    and it occurs as often as the pair. Other layers stay.
    """
    by_name = {layer.name: layer for layer in layers}
    twins = []
    for layer in layers:
        name, _, half = (layer.name or "").rpartition(".")
        if half == "dw":
            problem = standard_problem(layer.problem, by_name[f"{name}.pw"].problem)
            twins.append(Layer(problem, workload, name, layer.count))
        elif half != "pw":
            twins.append(replace(layer, workload=workload))
    return twins


def standard_problem(depthwise: ConvProblem, pointwise: ConvProblem) -> ConvProblem:
    """The standard convolution whose separable replacement has these two halves."""
    return ConvProblem(
        depthwise.in_channels,
        pointwise.out_channels,
        depthwise.input_size,
        depthwise.kernel_size,
        batch_size=depthwise.batch_size,
        stride=depthwise.stride,
        padding=depthwise.padding,
        dilation=depthwise.dilation,
        bias=pointwise.bias,
    )


def read_problems(path: Path) -> list[Layer]:
    """The problems of a CSV with the columns `PROBLEM_COLUMNS`; further columns are ignored.

    Raises:
        ValueError: one line that names the file, the line, the value and what is allowed.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            layers = list(_layers(path, csv.DictReader(_lines(path, file))))
    except OSError as error:
        raise ValueError(f"can't read {str(path)!r}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{str(path)!r} is not a CSV file of text in UTF-8") from None
    if not layers:
        raise ValueError(f"{str(path)!r} has no problem below its header")
    return layers


def _lines(path: Path, file: Iterator[str]) -> Iterator[str]:
    """The file's lines, a byte-order mark dropped and binary content refused."""
    for number, line in enumerate(file, start=1):
        if "\0" in line or len(line) > MOST_FIELD_BYTES:
            raise ValueError(f"{str(path)!r} line {number} is not a line of problems")
        yield line.removeprefix("\ufeff") if number == 1 else line


def _layers(path: Path, reader: csv.DictReader[str]) -> Iterator[Layer]:
    missing = [name for name in PROBLEM_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{str(path)!r} has no column {missing[0]!r}; it needs {', '.join(PROBLEM_COLUMNS)}"
        )
    for row in reader:
        try:
            yield Layer(_problem(row))
        except ValueError as error:
            raise ValueError(f"{str(path)!r} line {reader.line_num}: {error}") from None


def _problem(row: Mapping[str, str | None]) -> ConvProblem:
    """The problem of one row; raises `ValueError` that names a wrong value."""
    value = {name: _number(name, row[name]) for name in PROBLEM_COLUMNS}
    return ConvProblem(
        in_channels=value["in_channels"],
        out_channels=value["out_channels"],
        input_size=(value["height"], value["width"]),
        kernel_size=(value["kernel_h"], value["kernel_w"]),
        batch_size=value["batch_size"],
        stride=(value["stride_h"], value["stride_w"]),
        padding=(value["pad_h"], value["pad_w"]),
        dilation=(value["dilation_h"], value["dilation_w"]),
        groups=value["groups"],
        bias=bool(value["bias"]),
    )


def _number(name: str, text: str | None) -> int:
    least = 0 if name.startswith("pad") or name == "bias" else 1
    digits = (text or "").strip()
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1
    if number < least or (name == "bias" and number > 1):
        allowed = "0 or 1" if name == "bias" else f"a whole number of at least {least}"
        raise ValueError(f"{name}={text!r} is not {allowed}")
    return number
