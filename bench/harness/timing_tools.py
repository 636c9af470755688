"""Timing tools under comparison: their commands and readers of their output."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from bench.harness.pairs import LAYERS, VARIABLE, to_environment, write_problems
from convsweep.problems.problem import ConvProblem

ROOT = Path(__file__).parents[2]
CLIENTS = Path(__file__).parent / "clients"

CONVSWEEP_OPTIONS = ("--budget", "8s", "--precision", "0.5%")
"""Options with which convsweep takes no longer than pytest-benchmark."""
PYPERF_OPTIONS = ("--fast",)
"""By default pyperf starts 20 processes per benchmark, each of which imports torch."""

PROBLEMS, RUN, OUTPUT = "problems.csv", "run", "output.json"

# Variables that change the allocator, the threads or pytest of a tool's process.
_EXCLUDED_PREFIXES = ("MALLOC_", "GLIBC_", "LD_PRELOAD", "OMP_", "MKL_", "KMP_", "GOMP_", "PYTEST_")


class Answer(NamedTuple):
    """Result of a tool for one pair; the interval is None if it has none."""

    standard_s: float
    separable_s: float
    speedup: float
    ci_low: float | None = None
    ci_high: float | None = None


Answers = dict[str, Answer]
"""By label of the pair."""


@dataclass(frozen=True)
class Tool:
    """Timing tool, started as its users start it."""

    name: str
    package: str
    """Package that has its version."""
    statistic: str
    """Statistic that it reports first."""
    command: tuple[str, ...]
    """Started in a new folder that contains the pairs as `problems.csv`."""
    options: tuple[str, ...]
    """End of the command: the measurement effort."""
    read: Callable[[Path], Answers]
    """Reader of its output in that folder."""


class ToolRun(NamedTuple):
    """One run of a tool."""

    answers: Answers
    run_s: float
    """From start to end of its process."""


def run_tool(tool: Tool, pairs: Sequence[ConvProblem]) -> ToolRun:
    """Run a tool once on the pairs, in fresh processes.

    Raises:
        RuntimeError: the tool failed; contains the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as name:
        folder = Path(name)
        write_problems(pairs, folder / PROBLEMS)
        command = [sys.executable, *tool.command, *tool.options]
        started = perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=_environment(pairs), capture_output=True, text=True
        )
        run_s = perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"{tool.name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        answers = tool.read(folder)
        return ToolRun({pair.label: answers[pair.label] for pair in pairs}, run_s)


def _environment(pairs: Sequence[ConvProblem]) -> dict[str, str]:
    """Return the environment without settings of allocators and thread pools."""
    usual = {
        name: text for name, text in os.environ.items() if not name.startswith(_EXCLUDED_PREFIXES)
    }
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return usual | {"PYTHONPATH": path} | to_environment(pairs)


def _paired(seconds: dict[str, dict[str, float]]) -> Answers:
    """Return answers from seconds by pair and layer."""
    both = {pair: [layers[layer] for layer in LAYERS] for pair, layers in seconds.items()}
    return {
        pair: Answer(standard_s, separable_s, standard_s / separable_s)
        for pair, (standard_s, separable_s) in both.items()
    }


def _read_torch(folder: Path) -> Answers:
    return _paired(json.loads((folder / OUTPUT).read_text(encoding="utf-8")))


def _read_pytest_benchmark(folder: Path) -> Answers:
    seconds: dict[str, dict[str, float]] = {}
    for one in json.loads((folder / OUTPUT).read_text(encoding="utf-8"))["benchmarks"]:
        info = one["extra_info"]
        seconds.setdefault(info["pair"], {})[info["layer"]] = one["stats"]["median"]
    return _paired(seconds)


def _read_pyperf(folder: Path) -> Answers:
    import pyperf

    seconds: dict[str, dict[str, float]] = {}
    for one in pyperf.BenchmarkSuite.load(str(folder / OUTPUT)):
        pair, layer = one.get_name().split()
        seconds.setdefault(pair, {})[layer] = one.mean()
    return _paired(seconds)


def _read_convsweep(folder: Path) -> Answers:
    with (folder / RUN / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["problem"], row["backend"]): row for row in csv.DictReader(file)}
    return {
        pair: Answer(
            float(rows[pair, "torch_conv"]["median_s"]),
            float(row["median_s"]),
            float(row["speedup"]),
            _number(row["speedup_ci_low"]),
            _number(row["speedup_ci_high"]),
        )
        for (pair, backend), row in rows.items()
        if backend == "separable"
    }


def _number(text: str) -> float | None:
    return float(text) if text else None


def _torch(way: str) -> Tool:
    command = (str(CLIENTS / "torch_timer.py"), OUTPUT, f"{way}_autorange")
    headline = f"median of Timer.{way}_autorange"
    return Tool(f"torch {way}", "torch", headline, command, (), _read_torch)


# fmt: off
_CONVSWEEP = (
    "-m", "convsweep", "run", "--problems", PROBLEMS, "--out", RUN,
    "--backend", "torch_conv", "--backend", "separable",
)
# Without conftest.py, which sets convsweep's allocator, and without this project's settings.
_PYTEST = (
    "-m", "pytest", "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider",
    str(CLIENTS / "pytest_benchmark_pairs.py"), f"--benchmark-json={OUTPUT}",
)
_PYPERF = (str(CLIENTS / "pyperf_pairs.py"), "-o", OUTPUT, "--inherit-environ", VARIABLE)

TOOLS = (
    Tool("convsweep", "convsweep", "geometric mean over passes of a ratio of medians",
         _CONVSWEEP, CONVSWEEP_OPTIONS, _read_convsweep),
    Tool("convsweep, system", "convsweep", "the same, with the C library's own allocator",
         _CONVSWEEP, (*CONVSWEEP_OPTIONS, "--allocator", "system"), _read_convsweep),
    Tool("pytest-benchmark", "pytest-benchmark", "median",
         _PYTEST, (), _read_pytest_benchmark),
    _torch("blocked"),
    _torch("adaptive"),
    Tool("pyperf", "pyperf", "mean", _PYPERF, PYPERF_OPTIONS, _read_pyperf),
)
# fmt: on
