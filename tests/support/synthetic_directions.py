"""Synthetic runs in several directions: the same layers, where separable ones gain less or lose."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from convsweep.problems.case import DIRECTIONS
from convsweep.problems.problem import ConvProblem
from convsweep.results.schema import ROOFLINE, Row
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of

SPEEDUPS = dict(zip(DIRECTIONS, (4.0, 2.0, 0.5, 1.25), strict=True))
WORK = dict(zip(DIRECTIONS, (1, 1, 1, 3), strict=True))


def in_directions(rows: Iterable[Row], directions: Iterable[str] = DIRECTIONS) -> list[Row]:
    """Return all rows in these directions, training at a third of the speed; probes once."""
    rows = [*rows]
    return [
        replace(row, direction=name, **{column: seconds * WORK[name]
                for column in ("median_s", "kernel_s", "reorder_s")
                if (seconds := getattr(row, column)) is not None})
        for place, name in enumerate(directions)
        for row in rows
        if row.role != ROOFLINE or not place
    ]  # fmt: skip


def rows(
    problems: Iterable[ConvProblem],
    speedups: Mapping[str, float] = SPEEDUPS,
    *,
    passes: int = 4,
    noise: float = 0.005,
) -> list[Row]:
    """Return the rows of a run in which separable layers have these speedups by direction."""
    return [
        row
        for name, speedup in speedups.items()
        for row in in_directions(
            made.rows(
                problems,
                backends=study_of.PAIR,
                passes=passes,
                noise=noise,
                seconds=lambda p, b, d, of=speedup: 1e-4 / (of if b == "separable" else 1),
            ),
            [name],
        )
    ]
