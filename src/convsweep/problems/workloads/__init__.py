"""Layers of published networks, and problems read from a CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import standard_problem
from convsweep.problems.tool_lines import Found, tool_problems

PROBLEM_COLUMNS = (
    "batch_size", "in_channels", "height", "width", "out_channels", "kernel_h", "kernel_w",
    "stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "groups", "bias",
)  # fmt: skip
_OPTIONAL = ("pad_end_h", "pad_end_w", "transposed", "output_pad_h", "output_pad_w")
IMAGE = (1, 3, 224, 224)  # The input of every network here: (N, C, H, W)
CONVBENCH = "convbench_sample"
MOBILENET = "mobilenetv1_100"
STANDARD_MOBILENET = "mobilenetv1_100_standard"
"""MobileNetV1 with a standard convolution in place of each pair (Howard et al. 2017, Table 4)."""
NETWORKS = (MOBILENET, STANDARD_MOBILENET, "mobilenetv2_100", "vgg16", "resnet18", "resnet50")
"""Networks that `problems.networks` builds."""
MAX_FIELD_BYTES = 10_000


@dataclass(frozen=True, slots=True)
class Layer:
    """One problem and its place in a network."""

    problem: ConvProblem
    workload: str | None = None  # Name of the network
    name: str | None = None
    count: int = 1  # Number of times that one forward pass of the network runs the layer
    role: str = "case"  # `case`, `roofline` or `separable_part`, as in `results.schema`


@cache
def workloads() -> Mapping[str, tuple[Layer, ...]]:
    """Return the shipped networks and the ConvBench sample; SOURCES.md lists their origin."""
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
    """Return the layers with each separable pair replaced by one standard convolution.

    A pair is `NAME.dw` and `NAME.pw`; its replacement is NAME, with the same count.
    """
    by_name = {layer.name: layer for layer in layers}
    network = []
    for layer in layers:
        name, _, part = (layer.name or "").rpartition(".")
        if part == "dw":
            problem = standard_problem(layer.problem, by_name[f"{name}.pw"].problem)
            network.append(Layer(problem, workload, name, layer.count))
        elif part != "pw":
            network.append(replace(layer, workload=workload))
    return network


class ProblemFile(NamedTuple):
    """Problems of a file; settings are None unless all its lines have the same one."""

    layers: list[Layer]
    dtype: str | None = None
    direction: str | None = None


def read_problems(path: Path) -> ProblemFile:
    """Return the problems of a CSV with the columns `PROBLEM_COLUMNS`, or of another tool's lines.

    Those are descriptors of benchdnn, or any log with lines of MIOpenDriver or oneDNN in it. A row
    of a CSV may also have pad_end_h and pad_end_w, transposed, output_pad_h and output_pad_w.

    Raises:
        ValueError: the file, a line or a value is wrong; the message names them.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(_lines(path, file))
        found = _tool_problems(path, lines)
        layers = [Layer(one[0]) for one in found] or list(_layers(path, csv.DictReader(lines)))
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{str(path)!r} is not a CSV file of text in UTF-8") from None
    if not layers:
        raise ValueError(f"{str(path)!r} has no problem below its header")
    settings = ({one[1] for one in found}, {one[2] for one in found})
    return ProblemFile(layers, *[own.pop() if len(own) == 1 else None for own in settings])


def _tool_problems(path: Path, lines: Sequence[str]) -> list[Found]:
    """Return the problems in notations of other tools; none for a CSV."""
    header = next(filter(str.strip, lines), "")
    try:
        is_csv = not {*re.split(r"[\s\",;]+", header)}.isdisjoint(PROBLEM_COLUMNS)
        return [] if is_csv else list(tool_problems(lines))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} {error}") from None


def _lines(path: Path, file: Iterator[str]) -> Iterator[str]:
    """Yield the lines without a byte-order mark; raise `ValueError` for binary content."""
    for number, line in enumerate(file, start=1):
        if "\0" in line or len(line) > MAX_FIELD_BYTES:
            raise ValueError(f"{str(path)!r} line {number} is not a line of problems")
        yield line.removeprefix("\ufeff") if number == 1 else line


def _layers(path: Path, reader: csv.DictReader[str]) -> Iterator[Layer]:
    missing = [name for name in PROBLEM_COLUMNS if name not in (reader.fieldnames or ())]
    if len(missing) == len(PROBLEM_COLUMNS):
        raise ValueError(
            f"{str(path)!r} has no problem: it is no CSV with commas and the columns "
            f"{', '.join(PROBLEM_COLUMNS)}, and has no line of benchdnn, MIOpenDriver or oneDNN"
        )
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
    """Return the problem of one row; raise `ValueError` for a wrong value."""
    given = [name for name in _OPTIONAL if (row.get(name) or "").strip()]
    value = {name: _number(name, row[name]) for name in (*PROBLEM_COLUMNS, *given)}
    return ConvProblem(
        value["in_channels"],
        value["out_channels"],
        (value["height"], value["width"]),
        (value["kernel_h"], value["kernel_w"]),
        batch_size=value["batch_size"],
        stride=(value["stride_h"], value["stride_w"]),
        padding=(value["pad_h"], value["pad_w"]),
        dilation=(value["dilation_h"], value["dilation_w"]),
        groups=value["groups"],
        bias=bool(value["bias"]),
        padding_end=(
            value.get("pad_end_h", value["pad_h"]),
            value.get("pad_end_w", value["pad_w"]),
        ),
        transposed=bool(value.get("transposed", 0)),
        output_padding=(value.get("output_pad_h", 0), value.get("output_pad_w", 0)),
    )


def _number(name: str, text: str | None) -> int:
    flag = name in ("bias", "transposed")
    least = 0 if "pad" in name or flag else 1
    digits = (text or "").strip()
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else -1
    if number < least or (flag and number > 1):
        allowed = "0 or 1" if flag else f"a whole number of at least {least}"
        raise ValueError(f"{name}={text!r} is not {allowed}")
    return number
