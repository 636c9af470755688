"""Timing tools under comparison: their commands and readers of their output."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from bench.harness.pairs import LAYERS, VARIABLE, to_environment, write_problems
from convsweep.problems.problem import ConvProblem

ROOT = Path(__file__).parents[2]
CLIENTS = Path(__file__).parent / "clients"

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
    effort: str
    """How it is made to take the seconds that it is given."""
    options: Callable[[Allowance], tuple[str, ...]]
    """End of the command, for given seconds."""
    read: Callable[[Path], Answers]
    """Reader of its output in that folder."""
    shortest: tuple[str, ...] | None = None
    """Options of its shortest run, whose seconds it needs anyway; None if it keeps a budget."""
    least_s: float = 0.0
    """It is left out of shorter runs."""
    exit_codes: tuple[int, ...] = (0,)
    """Exit codes of a run with a result."""


class Allowance(NamedTuple):
    """Time that a tool has."""

    seconds: float
    """Time for its measurements, without what its shortest run takes."""
    layers: int
    round_s: float
    """Time of one call of every layer."""


class ToolRun(NamedTuple):
    """One run of a tool."""

    answers: Answers
    """Without those pairs that it had no time for."""
    run_s: float
    """From start to end of its process."""
    shares: Mapping[str, float]
    """Shares of the time after the start of its workers, by column; only of convsweep."""


def allowance(shortest: ToolRun | None, seconds: float, layers: int) -> Allowance:
    """Return what is left of `seconds` for measurements."""
    if shortest is None:
        return Allowance(seconds, layers, 0.0)
    answers = shortest.answers.values()
    round_s = sum(answer.standard_s + answer.separable_s for answer in answers)
    return Allowance(max(seconds - shortest.run_s, 0.0), layers, round_s)


def run_tool(
    tool: Tool, pairs: Sequence[ConvProblem], options: Sequence[str], kept: Path | None = None
) -> ToolRun:
    """Run a tool once on the pairs, in fresh processes; copy convsweep's run to `kept`.

    Raises:
        RuntimeError: the tool failed; contains the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="harness-") as name:
        folder = Path(name)
        write_problems(pairs, folder / PROBLEMS)
        command = [sys.executable, *tool.command, *options]
        started = perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=_environment(pairs), capture_output=True, text=True
        )
        run_s = perf_counter() - started
        if done.returncode not in tool.exit_codes:
            raise RuntimeError(f"{tool.name} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        if kept and (folder / RUN).is_dir():
            shutil.copytree(folder / RUN, kept, dirs_exist_ok=True)
        answers = tool.read(folder)
        by_pair = {pair.label: answers[pair.label] for pair in pairs if pair.label in answers}
        return ToolRun(by_pair, run_s, _shares(folder / RUN / "environment.json"))


def _shares(path: Path) -> dict[str, float]:
    """Return the shares of timing, and of timing and warm-up, of a run of convsweep."""
    if not path.is_file():
        return {}
    spent = json.loads(path.read_text(encoding="utf-8"))["time_spent"]
    # Phases that did not begin are missing.
    start_s, timing_s, warm_up_s = (
        spent.get(name, 0.0) for name in ("start_s", "timing_s", "warm_up_s")
    )
    started_s = spent["wall_s"] - start_s
    return {
        "timing_share": timing_s / started_s,
        "timing_and_warm_up_share": (timing_s + warm_up_s) / started_s,
    }


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
    if not (folder / RUN / "summary.csv").is_file():
        return {}
    with (folder / RUN / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["problem"], row["backend"]): row for row in csv.DictReader(file)}
    return {
        pair: Answer(
            float(rows[pair, "torch_conv"]["time_s"]),
            float(row["time_s"]),
            float(row["speedup"]),
            _number(row["speedup_ci_low"]),
            _number(row["speedup_ci_high"]),
        )
        for (pair, backend), row in rows.items()
        if backend == "separable" and row["speedup"]
    }


def _number(text: str) -> float | None:
    return float(text) if text else None


def _budget(allowed: Allowance) -> tuple[str, ...]:
    return ("--budget", f"{allowed.seconds:g}s", "--precision", "0.1%")


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
_ONE_VALUE = ("--processes=1", "--loops=1", "--warmups=0")

_CUT_OFF = (0, 1)  # convsweep has 1 if the budget left out all cases

TOOLS = (
    Tool("convsweep", "convsweep",
         "trimmed mean over passes of a ratio of means of the faster half of blocks", _CONVSWEEP,
         "--budget SECONDS --precision 0.1%", _budget, _read_convsweep, exit_codes=_CUT_OFF),
    Tool("convsweep, system", "convsweep", "the same, with the C library's own allocator",
         _CONVSWEEP, "--budget SECONDS --precision 0.1% --allocator system",
         lambda allowed: (*_budget(allowed), "--allocator", "system"), _read_convsweep,
         exit_codes=_CUT_OFF),
    Tool("pytest-benchmark", "pytest-benchmark", "median", _PYTEST,
         "--benchmark-max-time for equal shares of the time per layer, its own calibration",
         lambda allowed: (f"--benchmark-max-time={max(allowed.seconds / allowed.layers, 1e-6):g}",),
         _read_pytest_benchmark,
         shortest=("--benchmark-max-time=0.000001", "--benchmark-min-rounds=1")),
    Tool("torch blocked", "torch", "median of all measurements of Timer.blocked_autorange",
         (str(CLIENTS / "torch_timer.py"), OUTPUT),
         "blocked_autorange of at most 0.2 s per layer, repeated over all pairs",
         lambda allowed: (f"{allowed.seconds:g}",), _read_torch, shortest=("0",)),
    # One process per layer, each of which imports torch, takes most of a minute.
    Tool("pyperf", "pyperf", "mean", _PYPERF,
         "one process per layer, as many values as fit, one call each",
         lambda allowed: (*_ONE_VALUE, f"--values={1 + int(allowed.seconds / allowed.round_s)}"),
         _read_pyperf, shortest=(*_ONE_VALUE, "--values=1"), least_s=60.0),
)
# fmt: on
