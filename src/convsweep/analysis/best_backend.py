"""Fastest valid backend of every problem and setting."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame, Series

from convsweep import formatting
from convsweep.analysis.estimates import Array, estimate, interval
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.analysis.verdicts import DIRECTIONS, p_values, reject_at_fdr
from convsweep.results.best_csv import BEST_COLUMNS, LEAD, MACHINE
from convsweep.results.machines import machine_of, run_id_of
from convsweep.results.store import RunFolder

_MOST_NAMED = 3


def best_backends(
    run: Run,
    max_error: float | None = None,
    among: Collection[str] | None = None,
    by: Sequence[str] = ("setting", "label"),
) -> DataFrame:
    """Return one row per problem and setting of a run: its fastest backend that passed the gate.

    Adds `second` and `speedup_over_second` with its 95 % interval, empty without another backend,
    and `significant`, corrected for the number of problems.

    Args:
        run: the run.
        max_error: the largest relative error; backends with an unknown error are left out.
        among: the backends that may be chosen; by default all.
        by: columns that are equal for those that compete.
    """
    cases = _candidates(run, among)
    if max_error is not None:
        cases = cases[(cases["relative_err"] <= max_error).fillna(False).astype(bool)]
    log_s = run.log_s(cases)  # (cases, passes)
    rows, p = [], []
    for places in _groups(cases, by):
        best, lead, p_value = _winner(run.margin, cases["backend"].iloc[places], log_s[places])
        rows.append(cases.iloc[places[best]].to_dict() | lead)
        p.append(p_value)
    found = pd.DataFrame(rows, columns=[*run.cases.columns, *LEAD[:-1]])
    p_array = np.array(p, dtype="float64")
    significant = pd.array([pd.NA] * len(p), dtype="boolean")  # missing without a second backend
    significant[~np.isnan(p_array)] = reject_at_fdr(p_array[~np.isnan(p_array)])
    return found.assign(significant=significant)


def _candidates(run: Run, among: Collection[str] | None) -> DataFrame:
    """Return the cases that are ok, of the backends `among` or of all."""
    ok = run.cases[run.cases["status"] == "ok"]
    return ok if among is None else ok[ok["backend"].isin([*among])]


def fastest(run: Run) -> DataFrame:
    """Return `setting, label, backend, significant` of each problem that two backends timed."""
    found = best_backends(run)
    contested = found.loc[found["second"].notna(), ["setting", "label", "backend", "significant"]]
    return contested.astype({"significant": bool}).reset_index(drop=True)


def _groups(cases: DataFrame, by: Sequence[str]) -> list[NDArray[np.intp]]:
    """Return the places of the rows of each group, in order of their first ones."""
    if cases.empty:
        return []
    group = cases.groupby([*by], sort=False).ngroup().to_numpy()
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _winner(
    margin: float, names: "Series[str]", log_s: Array
) -> tuple[int, dict[str, object], float]:
    """Return the place of a problem's fastest case, its lead, and its p-value; NaN without rival.

    `log_s` is (backends, passes).
    """
    order = np.argsort(estimate(log_s).mean, kind="stable")
    best = int(order[0])
    if len(order) < 2:
        return best, {"second": None} | dict.fromkeys(LEAD[1:-1], np.nan), np.nan
    others = estimate(log_s[order[1:]] - log_s[best])
    p = p_values(others, margin)[DIRECTIONS.index("faster")].max()
    over = interval(estimate(log_s[order[1]] - log_s[best]))
    second = str(names.iloc[int(order[1])])
    return best, dict(zip(LEAD[:-1], (second, *over), strict=True)), float(p)


class BestBackends(NamedTuple):
    """Best backends of a run folder."""

    table: DataFrame  # the result of `best_backends`, with `BEST_COLUMNS` first
    unlimited: DataFrame  # the same of all backends, without an error limit
    cases: DataFrame  # the cases of the run

    @property
    def left_out(self) -> list[str]:
        """The problems that no allowed backend computes within the error limit."""
        return sorted(set(self.unlimited["problem"]) - set(self.table["problem"]))


def read_best_backends(
    run_dir: Path, max_error: float | None = None, among: Collection[str] | None = None
) -> BestBackends:
    """Return the best backends of a run folder; arguments as for `best_backends`.

    Raises:
        ValueError: there is no run, or no case is ok and within `max_error`.
    """
    folder = RunFolder(run_dir)
    rows, request = folder.measurements, folder.request
    run = read_run(rows, summarize(rows, request.baseline, request.margin))
    unlimited = best_backends(run)
    limited = max_error is not None or among is not None
    found = best_backends(run, max_error, among) if limited else unlimited.copy()
    if found.empty:
        raise ValueError(f"{folder} {_absence_reason(run, max_error, among)}")
    for name, part in MACHINE.items():
        machines = (machine_of(folder.environment, str(one)) for one in found["environment_id"])
        values = (machine.get(part, {}).get(name) for machine in machines)
        found[name] = [None if value is None else str(value) for value in values]
    found = found.assign(run_id=run_id_of(folder.environment, rows), max_error=max_error)
    more = [name for name in found.columns if name not in BEST_COLUMNS]
    return BestBackends(found[[*BEST_COLUMNS, *more]], unlimited, run.cases)


def _absence_reason(run: Run, max_error: float | None, among: Collection[str] | None) -> str:
    """Return why there is no row, to follow the name of the run."""
    ok = _candidates(run, among)
    if ok.empty:
        chosen = "the chosen backends" if len(among or ()) > _MOST_NAMED else ", ".join(among or ())
        return "has no case that is ok" + (f" on {chosen}" if chosen else "")
    least = ok["relative_err"].astype("float64").min()
    if np.isnan(least):
        return "records no relative error, which --max-error needs"
    limit = f"a relative error of {max_error:g}"
    return f"has no backend within {limit}: the least is {formatting.error(least)}"
