"""Made-up runs to compare, some of them slower."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from convsweep.analysis.compare import RunComparison, compare_runs
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made

PROBLEMS = made.grid((16, 64), (14, 28), (3,))
BACKENDS = ("torch_conv", "im2col", "separable")
Write = Callable[..., Path]


def measured(seed: int, **how: object) -> list[Row]:
    given = {"backends": BACKENDS, "passes": 8, "noise": 0.004, "seed": seed} | how
    return made.rows(PROBLEMS, **given)


def slowed(factor: float, backend: str = "", channels: int = 0) -> Callable[..., float]:
    """The usual seconds, times a factor for one backend at one width, or for all."""

    def seconds(problem, name, device):
        hit = (backend in ("", name)) and (channels in (0, problem.in_channels))
        return made.modelled_s(problem, name, device) * (factor if hit else 1)

    return seconds


def compare(old: Path, new: Path, **options: object) -> RunComparison:
    return compare_runs([old, new], **options).to_first[-1]


def verdicts(found: RunComparison, backend: str) -> list[str]:
    return list(found.cases.loc[found.cases["backend"] == backend, "verdict"])


def broken(status: str) -> list[Row]:
    return [
        replace(row, status=status, reason="because [bold]|", median_s=None)
        if (row.backend, row.in_channels, row.input_size) == ("separable", 64, "28x28")
        else row
        for row in measured(2)
    ]


SETTINGS = made.ENVIRONMENT["settings"]


class Output(NamedTuple):
    code: int
    out: str
    err: str
