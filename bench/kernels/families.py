"""Own kernels against torch and the best engine, per family of layers, on one and two threads.

    python -m bench.kernels.families --out results/kernel_families --minutes 12

Runs `convsweep run` on each family and writes families.md: geometric means of paired ratios with
intervals, by the analysis of `convsweep report`. Repeating the command resumes it.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from bench.kernels.layers import depthwise_problems
from convsweep.analysis.families.candidates import read_candidates
from convsweep.analysis.families.comparison import compare_families
from convsweep.analysis.run import read_run
from convsweep.analysis.summary import summarize
from convsweep.backends.strategies.numba_kernels import depthwise_unsupported
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import CONVBENCH, PROBLEM_COLUMNS, workloads
from convsweep.report.sections.families import comparisons_table
from convsweep.report.table import Table
from convsweep.report.tables import markdown
from convsweep.results.store import RunFolder

ENGINES = ("torch_prepacked", "onnxruntime", "openvino", "ncnn")
SETTINGS = (
    *("--threads", "1", "--threads", "2"),
    *("--memory-format", "contiguous", "--memory-format", "channels_last"),
    *("--no-trace", "--no-ceilings", "--passes", "5"),
)


def convbench_problems() -> list[ConvProblem]:
    """Return the 2-D depthwise problems of the ConvBench sample."""
    problems = (layer.problem for layer in workloads()[CONVBENCH])
    return [one for one in dict.fromkeys(problems) if depthwise_unsupported(one) is None]


class Family(NamedTuple):
    """Layers of one kind, the backends that compute them, and a share of the time."""

    share: float
    backends: tuple[str, ...]
    grid: str = ""
    problems: Callable[[], Sequence[ConvProblem]] = list


FAMILIES = {
    "winograd": Family(0.3, ("torch_conv", "winograd_numba", *ENGINES), "winograd"),
    "depthwise": Family(
        0.2, ("torch_conv", "depthwise_numba", *ENGINES), problems=depthwise_problems
    ),
    "convbench": Family(
        0.35, ("torch_conv", "depthwise_numba", *ENGINES), problems=convbench_problems
    ),
    "separable": Family(0.15, (), "separable_blocks"),
}
"""The grids have the 3x3 layers of VGG-16 and ResNet-50, and MobileNetV1's nine blocks."""


def write_problems(path: Path, problems: Sequence[ConvProblem]) -> None:
    """Write a CSV that `convsweep run --problems` reads."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PROBLEM_COLUMNS)
        for one in problems:
            image = (one.batch_size, one.in_channels, *one.input_size, one.out_channels)
            steps = (*one.kernel_size, *one.stride, *one.padding, *one.dilation)
            writer.writerow((*image, *steps, one.groups, int(one.bias)))


def run_words(name: str, out: Path, minutes: float) -> list[str]:
    """Return the arguments of convsweep that measure one family."""
    family, run, path = FAMILIES[name], out / name, out / f"{name}.csv"
    if not family.grid:
        write_problems(path, family.problems())
    source = ("--grid", family.grid) if family.grid else ("--problems", str(path))
    return [
        *("run", *source),
        *(word for backend in family.backends for word in ("--backend", backend)),
        *SETTINGS,
        *("--budget", f"{60 * minutes * family.share:.0f}s", "--out", str(run)),
        *(["--resume"] if run.exists() else []),
    ]


def table(folder: RunFolder) -> Table:
    """Return the comparisons of one family, per number of threads."""
    rows, request = folder.measurements, folder.request
    run = read_run(rows, summarize(rows, request.baseline, request.margin), request.cases)
    return comparisons_table(
        {one.name: (one, compare_families(one)) for one in read_candidates(run)}
    )


@click.command()
@click.option("--out", metavar="DIR", type=Path, required=True, help="Folder of the four runs.")
@click.option("--minutes", metavar="N", type=float, default=12.0, help="Of all families together.")
@click.option("--family", metavar="NAME", multiple=True, type=click.Choice([*FAMILIES]))
def main(out: Path, minutes: float, family: tuple[str, ...]) -> None:
    """Measure own kernels against torch and engines; write families.md."""
    out.mkdir(parents=True, exist_ok=True)
    parts = ["# Own kernels against torch and the best engine\n"]
    for name in family or FAMILIES:
        words = run_words(name, out, minutes)
        subprocess.run([sys.executable, "-m", "convsweep", *words], check=False)
        shown = " ".join(["convsweep", *words])
        parts.append(f"## {name}\n\n`{shown}`\n\n{markdown(table(RunFolder(out / name)))}")
    text = "\n".join(parts)
    (out / "families.md").write_text(text, encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
