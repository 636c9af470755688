"""Parts of a device's acceptance run: each is one command with a share of the time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from bench.harness.timing_tools import ROOT
from convsweep.analysis.summary import SUMMARY_COLUMNS
from convsweep.problems.case import BLOCKS, DIRECTIONS, DTYPES
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import CONVBENCH
from convsweep.results.schema import CASE, STATUSES
from convsweep.results.store import SUMMARY, RunFolder

LOG, RUN = "log.txt", "run"
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
PROBLEMS = 300
_SEED = 20261129
_SLOW = ("vulkan",)  # in software
_NOTHING_SELECTED = 5  # exit code of pytest
_RUN_SHARE = 0.8  # of a part's limit, for the budget of its run; the rest is start and summary
_CONVSWEEP = [sys.executable, "-m", "convsweep"]


@dataclass(frozen=True)
class Part:
    """One command, which gets the part's folder and its limit in seconds."""

    name: str
    about: str
    share: float
    """Share of the time that is left, relative to the shares of all later parts."""
    command: Callable[[Path, float], list[str]]


@dataclass(frozen=True)
class Result:
    """How a part ended."""

    part: Part
    folder: Path
    command: list[str]
    status: str
    detail: str
    seconds: float
    limit_s: float


def drawn_problems(count: int = PROBLEMS) -> list[ConvProblem]:
    """Return small problems of all kinds: 1-D to 3-D, strides, dilation, groups, bias."""
    draw = random.Random(_SEED).randint
    found: dict[ConvProblem, None] = {}
    while len(found) < count:
        rank, groups = draw(1, 3), draw(1, 4)
        kernel, stride, padding, dilation, size = (
            [draw(least, most) for _ in range(rank)]
            for least, most in ((1, 3), (1, 2), (0, 2), (1, 2), (1, 8))
        )
        with suppress(ValueError):  # a kernel larger than the image
            problem = ConvProblem(
                groups * draw(1, 4), groups * draw(1, 4), size, kernel, batch_size=draw(1, 2),
                stride=stride, padding=padding, dilation=dilation, groups=groups,
                bias=draw(0, 1) > 0,
            )  # fmt: skip
            found[problem] = None
    return list(found)


def _sweep(device: str, *words: str) -> Callable[[Path, float], list[str]]:
    run = [*_CONVSWEEP, "run", "--device", device, *words, "--budget"]
    return lambda folder, limit_s: [
        *run,
        f"{_RUN_SHARE * limit_s:.0f}s",
        "--out",
        str(folder / RUN),
    ]


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def acceptance_parts(device: str) -> list[Part]:
    """Return the parts for a device, in the order in which they run."""
    tests = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "tests").rglob("test_*.py"))
             if "mark.device" in p.read_text(encoding="utf-8")]  # fmt: skip
    once = ["--passes", "1", "--no-ceilings", "--case-timeout", "5s"]
    small = [*_each("--axis", ("in_channels=8", "size=6", "kernel_size=3")), *once,
             *_each("--backend", ("torch_conv", "im2col"))]  # fmt: skip
    kinds = ("in_channels=16,64", "size=14", "kernel_size=1,3", "groups=1,depthwise")
    both = _each("--direction", ("forward", "training"))
    drawn = _each("--problem", [problem.label for problem in drawn_problems()])
    gate = drawn if device in _SLOW else ["--workload", CONVBENCH]
    every = [*_each("--direction", DIRECTIONS), *_each("--dtype", DTYPES),
             *_each("--block", BLOCKS), "--no-trace"]  # fmt: skip
    return [
        Part("environment", "machine and versions", 6, lambda *_: [*_CONVSWEEP, "env"]),
        Part("tests", "tests marked for devices", 30,
             lambda *_: [sys.executable, "-m", "pytest", "-q", "-m", "device", *tests]),
        Part("smoke", "small sweep in every direction, dtype and block", 50,
             _sweep(device, *small, *every)),
        Part("implementations", "names of what runs, per kind of layer, dtype and direction", 12,
             _sweep(device, *_each("--axis", kinds), *both, *once, "--backend", "torch_conv",
                    *_each("--dtype", ("float32", "bfloat16", "float16")))),
        Part("depthwise", "MobileNetV1's layers, standard against separable", 30,
             _sweep(device, "--grid", "mobilenet", "--case-timeout", "5s", *both)),
        Part("report", "report of the depthwise study", 12,
             lambda folder, _: [*_CONVSWEEP, "report", str(folder.parent / "depthwise" / RUN),
                                "--out", str(folder / "pages")]),
        Part("gate", f"{PROBLEMS} problems against float64", 40,
             lambda *_: [*_CONVSWEEP, "check", "--device", device, "--backend", "torch_conv",
                         "--case-timeout", "20s", *gate]),
    ]  # fmt: skip


def run_parts(parts: Sequence[Part], out: Path, budget_s: float) -> Iterator[Result]:
    """Run the parts one after the other, each within its share of the time that is left."""
    end = time.monotonic() + budget_s
    for place, part in enumerate(parts):
        left = sum(later.share for later in parts[place:])
        limit_s = max(0.0, end - time.monotonic()) * part.share / left
        yield _run(part, out / part.name.replace(" ", "_"), limit_s)


def _run(part: Part, folder: Path, limit_s: float) -> Result:
    """Run one part; it and its children end at its limit."""
    folder.mkdir(parents=True)
    command, started = part.command(folder, limit_s), time.monotonic()
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    status, detail = judge(folder, code)
    return Result(part, folder, command, status, detail, time.monotonic() - started, limit_s)


def judge(folder: Path, code: int | None) -> tuple[str, str]:
    """Return how a part ended, and its counts or its last line."""
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    detail = next((line for line in reversed(lines) if line.strip()), "")
    skips_alone = "skipped" in detail and "passed" not in detail
    for number, line in enumerate(lines):
        if line.startswith("backend "):  # the table of `convsweep check`
            detail = "; ".join(" ".join(line.split()) for line in lines[number:-1])
    if (folder / RUN / SUMMARY).is_file():
        counts = Counter(cases(folder)["status"])
        left = RunFolder(folder / RUN).request.cases - counts.total()
        detail = ", ".join(f"{counts[name]} {name}" for name in reversed(STATUSES) if counts[name])
        detail += f", {left} without time" * (left > 0)
        skips_alone = {*counts} == {"skipped"}
        code = code if counts["ok"] or skips_alone else code or 1
    if code is None:
        return FAILED, f"over its limit; {detail}"
    if code == _NOTHING_SELECTED or (code == 0 and skips_alone):
        return SKIPPED, detail
    return PASSED if code == 0 else FAILED, detail if code == 0 else f"exit code {code}; {detail}"


def cases(folder: Path) -> DataFrame:
    """Return the requested cases of a part's run; none if it has no run."""
    path = folder / RUN / SUMMARY
    if not path.is_file():
        return DataFrame(columns=SUMMARY_COLUMNS)
    found = pd.read_csv(path, keep_default_na=False)
    return found[found["role"] == CASE]
