"""The fastest correct backend of every problem and setting, and how surely."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from convsweep.analysis.estimates import Interval, estimate, interval
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.analysis.verdicts import DIRECTIONS, p_values, reject_at_fdr
from convsweep.results import store
from convsweep.results.best_csv import BEST_COLUMNS, LEAD, MACHINE
from convsweep.results.machines import machine_of, run_id_of
from convsweep.results.request_info import read_request_info

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def best_backends(
    run: Run, max_error: float | None = None, among: Collection[str] | None = None
) -> DataFrame:
    """One row for each problem and setting of a run: its fastest backend that passed the gate.

    Beside the case's own columns, `label` and `setting`: `second` and `speedup_over_second` with its 95 %
    interval, empty where no other backend is ok, and `significant`, corrected for so many problems.

    Args:
        run: as `findings.read_run` gives it.
        max_error: the largest relative error; a backend whose error is not known is not within.
        among: only these backends; by default all.
    """
    cases = run.cases[run.cases["status"] == "ok"]
    if among is not None:
        cases = cases[cases["backend"].isin([*among])]
    if max_error is not None:
        cases = cases[(cases["relative_err"] <= max_error).fillna(False).astype(bool)]
    rows, doubts = [], []
    for _, rivals in cases.groupby(["setting", "label"], sort=False):
        winner, lead, doubt = _winner(run, rivals)
        rows.append(winner.to_dict() | lead)
        doubts.append(doubt)
    found = pd.DataFrame(rows, columns=[*run.cases.columns, *LEAD[:-1]])
    return found.assign(significant=_decided(np.array(doubts, dtype="float64")))


def _winner(run: Run, rivals: DataFrame) -> tuple[Series[Any], dict[str, object], float]:
    """The fastest of one problem's cases, its lead, and how doubtful that is; NaN: no rival."""
    keys = pd.MultiIndex.from_frame(rivals[["setting", "label", "backend"]])
    logs = np.log(run.pass_times.loc[keys].to_numpy(dtype="float64"))  # (backends, passes)
    order = np.argsort(estimate(logs).mean, kind="stable")
    winner = rivals.iloc[int(order[0])]
    if len(order) < 2:
        return winner, _lead(None, Interval(np.nan, np.nan, np.nan)), np.nan
    others = estimate(logs[order[1:]] - logs[order[0]])
    doubt = p_values(others, run.margin)[DIRECTIONS.index("faster")].max()
    over = interval(estimate(logs[order[1]] - logs[order[0]]))
    return winner, _lead(str(rivals["backend"].iloc[int(order[1])]), over), float(doubt)


def _lead(second: str | None, over: Interval) -> dict[str, object]:
    return dict(zip(LEAD[:-1], (second, *over), strict=True))


def _decided(doubts: np.ndarray[Any, np.dtype[np.float64]]) -> pd.api.extensions.ExtensionArray:
    """Which leads are sure; missing where there is no second."""
    decided = pd.array([pd.NA] * len(doubts), dtype="boolean")
    contested = ~np.isnan(doubts)
    decided[contested] = reject_at_fdr(doubts[contested])
    return decided


class BestBackends(NamedTuple):
    """The answer of a run's folder."""

    table: DataFrame
    """As `best_backends` gives it, with `BEST_COLUMNS` first: also the machine that it holds for."""
    every: DataFrame
    """The same without a limit, of all backends."""
    cases: DataFrame
    """All that was measured, as `findings.read_run` gives it."""

    @property
    def left_out(self) -> list[str]:
        """The problems that backends compute, none of them exactly enough, or none of those."""
        return sorted(set(self.every["problem"]) - set(self.table["problem"]))


def read_best_backends(
    run_dir: Path, max_error: float | None = None, among: Collection[str] | None = None
) -> BestBackends:
    """The table of a run's folder; the arguments are those of `best_backends`.

    Raises:
        ValueError: in one line, where there is no run, nothing in it is ok, or nothing is within
            `max_error`.
    """
    environment = store.read_environment(run_dir)
    measurements = store.load(run_dir)
    requested = read_request_info(environment)
    run = read_run(measurements, summarize(measurements, requested.baseline, requested.margin))
    every = best_backends(run)
    limited = max_error is not None or among is not None
    found = best_backends(run, max_error, among) if limited else every.copy()
    if found.empty:
        raise ValueError(f"{str(run_dir)!r} {_absence_reason(run, max_error, among)}")
    for name, part in MACHINE.items():
        told = (machine_of(environment, str(one)).get(part) for one in found["environment_id"])
        found[name] = [_told(one, name) for one in told]
    run_id = run_id_of(environment, measurements)
    found = found.assign(run_id=run_id, max_error=max_error)
    more = [name for name in found.columns if name not in BEST_COLUMNS]
    return BestBackends(found[[*BEST_COLUMNS, *more]], every, run.cases)


def _told(part: object, name: str) -> str | None:
    value = part.get(name) if isinstance(part, Mapping) else None
    return None if value is None else str(value)


def _absence_reason(run: Run, max_error: float | None, among: Collection[str] | None) -> str:
    """Why there is no row, to follow the run's name."""
    ok = run.cases[run.cases["status"] == "ok"]
    if among is not None:
        ok = ok[ok["backend"].isin([*among])]
    if ok.empty:
        return "has no case that is ok" + ("" if among is None else f" on {', '.join(among)}")
    least = ok["relative_err"].astype("float64").min()
    if np.isnan(least):
        return "tells no relative error: it is of an older version"
    return f"has no backend within a relative error of {max_error:g}: the least is {least:.2g}"
