"""Which backends are shown where there are more than a reader can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convsweep.analysis.run import Run
from convsweep.problems.separable import FACTORED

if TYPE_CHECKING:
    from pandas import DataFrame


def top_backends(run: Run, most: int) -> Run:
    """The run with at most so many backends: the baseline, and those that are fastest most often.

    Among equals the one that is the least behind; one without any time is the first to go.
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
    """The other backends, the most worth seeing first.

    Those that compute from a weight's factors, and so less, contend among themselves.
    """
    others = timed[timed["backend"] != baseline]
    factors = others["backend"].str.startswith(FACTORED)
    least = others.groupby(["setting", "label", factors])["median_s"].transform("min")
    behind = np.log((others["median_s"] / least).to_numpy(dtype="float64"))
    told = others.assign(won=behind <= 0, behind=behind).groupby("backend")[["won", "behind"]]
    wins, means = told.sum()["won"], told.mean()["behind"]
    names = {str(name) for name in others["backend"]}
    return sorted(names, key=lambda name: (-wins[name], means[name], name))


def _of_halves(run: Run) -> set[str]:
    return set(run.halves["backend"]) if len(run.halves) else set()
