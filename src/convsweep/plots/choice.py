"""Which backends a figure shows where there are more than one can tell apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from convsweep.findings import Run
from convsweep.plots.style import Picture

if TYPE_CHECKING:
    from pandas import DataFrame


def few(run: Run, most: int) -> Run:
    """The run with at most so many backends: the baseline, and those that are fastest most often.

    Among equals the one with the larger mean speedup; one without any time is the first to go.
    """
    timed = run.cases[run.cases["status"] == "ok"]
    kept = {run.baseline, *_ranked(timed, run.baseline)[: most - 1]}
    if len(run.backends) <= most or not len(timed):
        return run
    of_pass_times = run.pass_times.index.get_level_values("backend").isin(kept | _of_halves(run))
    return run._replace(
        cases=run.cases[run.cases["backend"].isin(kept)], pass_times=run.pass_times[of_pass_times]
    )


def _ranked(timed: DataFrame, baseline: str) -> list[str]:
    """The other backends, the most worth seeing first."""
    others = timed[timed["backend"] != baseline]
    least = timed.groupby(["setting", "label"])["median_s"].transform("min")
    wins = (others["median_s"] <= least[others.index]).groupby(others["backend"]).sum()
    logs = others.assign(log=np.log(others["speedup"].to_numpy(dtype="float64")))
    means = logs.groupby("backend")["log"].mean()
    names = {str(name) for name in others["backend"]}
    return sorted(names, key=lambda name: (-wins[name], -np.nan_to_num(means[name], nan=-99), name))


def _of_halves(run: Run) -> set[str]:
    return set(run.halves["backend"]) if len(run.halves) else set()


def told(picture: Picture, shown: Run, run: Run) -> Picture:
    """The picture, whose caption says how many backends it leaves out."""
    left = len(run.backends) - len(shown.backends)
    if not left:
        return picture
    return replace(
        picture,
        caption=f"{picture.caption} Of {len(run.backends)} backends the {len(shown.backends)} "
        "that are the fastest most often are drawn, after that those with the largest mean "
        "speedup; tables hold all.",
    )
