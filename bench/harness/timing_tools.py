"""The tools that are compared: how each is started, and where it writes its answer."""

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
"""What convsweep is told so that it takes no longer than pytest-benchmark does."""
PYPERF_OPTIONS = ("--fast",)
"""By its defaults pyperf starts 20 processes a benchmark, and each of them imports torch."""

PROBLEMS, RUN, OUTPUT = "problems.csv", "run", "output.json"

# What would make a tool's process another one than its users have.
_EXCLUDED_PREFIXES = ("MALLOC_", "GLIBC_", "LD_PRELOAD", "OMP_", "MKL_", "KMP_", "GOMP_", "PYTEST_")


class Answer(NamedTuple):
    """What a tool says of one pair; an interval of the speedup where it gives one."""

    standard_s: float
    separable_s: float
    speedup: float
    ci_low: float | None = None
    ci_high: float | None = None


Answers = dict[str, Answer]
"""By the pair's label."""


@dataclass(frozen=True)
class Tool:
    """A timing tool as its users start it."""

    name: str
    package: str
    """Whose version it has."""
    statistic: str
    """What it reports first of a benchmark: its own headline."""
    command: tuple[str, ...]
    """Started in an empty folder that holds the pairs as `problems.csv`."""
    options: tuple[str, ...]
    """The end of the command: the effort that it is asked for."""
    read: Callable[[Path], Answers]
    """Its answers, from what it wrote into that folder."""


class ToolRun(NamedTuple):
    """One run of a tool."""

    answers: Answers
    run_s: float
    """From the start of its process to the end."""


def run_tool(tool: Tool, pairs: Sequence[ConvProblem]) -> ToolRun:
    """Run a tool once on the pairs, in fresh processes.

    Raises:
        RuntimeError: it failed; says with what words.
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
    """This process's own, without what changes allocators and thread pools."""
    usual = {name: text for name, text in os.environ.items() if not name.startswith(_EXCLUDED_PREFIXES)}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return usual | {"PYTHONPATH": path} | to_environment(pairs)


def _paired(seconds: dict[str, dict[str, float]]) -> Answers:
    """Answers of each pair's seconds by layer."""
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
        told = one["extra_info"]
        seconds.setdefault(told["pair"], {})[told["layer"]] = one["stats"]["median"]
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
# Without conftest.py, which would give the process convsweep's allocator, and without our settings.
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
