"""Comparison of two runs: which cases are faster or slower in the new one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from convsweep.analysis.cases import Cases, read_cases, split
from convsweep.analysis.estimates import (
    Array,
    Estimate,
    bounds,
    difference,
    equal_mean,
    estimate,
    interval,
)
from convsweep.analysis.labels import label_cases
from convsweep.analysis.summary import stored_verdicts
from convsweep.results import store
from convsweep.results.metadata import Use, select
from convsweep.results.schema import BASELINE, CASE_COLUMNS
from convsweep.results.store import RunFolder

_OF_ONE_MACHINE = ("environment_id", "backend_version", "device_name")
SHARED_COLUMNS = tuple(name for name in CASE_COLUMNS if name not in _OF_ONE_MACHINE)
"""Columns that identify the same case in two runs."""
VERDICTS = ("slower", "faster", "undecided", "same")
_FAILED = ("mismatch", "crash", "error", "out_of_memory", "timeout")


class RunComparison(NamedTuple):
    """Changes of every case from the old run to the new one."""

    cases: DataFrame
    """One row per case of either run: `SHARED_COLUMNS, status_old, status_new, reason, label,
    setting, old_s, new_s, old_speedup, new_speedup, change, change_ci_low, change_ci_high, verdict,
    regression`. A change above 1 is faster now; cases without a comparison have no verdict."""
    means: DataFrame
    """One row per setting and backend: `setting, backend, cases`, and the geometric mean of the
    changes as `change, change_ci_low, change_ci_high`; for the baseline of absolute times."""
    baseline: str | None
    """Backend that times are relative to, pass by pass; None for absolute times."""
    margin: float
    differences: list[str]  # differences of machine, versions and settings
    gaps: list[str]  # sentences on what the runs themselves lack

    @property
    def missing(self) -> Series[bool]:
        """Mask of the cases that were ok and are now not in the run, or skipped."""
        now = self.cases["status_new"]
        return self.cases["status_old"].eq("ok") & (now.isna() | now.eq("skipped"))

    @property
    def judged(self) -> Series[bool]:
        """Mask of the cases that were compared."""
        return self.cases["verdict"].isin(VERDICTS)

    def exit_code(self, *, allow_missing: bool) -> int:
        """Return 1 if a case is slower or failed, 3 if a comparison is missing, else 0."""
        if self.cases["regression"].any():
            return 1
        complete = allow_missing or not (self.gaps or self.missing.any())
        return 0 if self.judged.any() and complete else 3


def compare(
    old_dir: Path,
    new_dir: Path,
    *,
    margin: float | None = None,
    absolute: bool = False,
    across_machines: bool = False,
) -> RunComparison:
    """Compare the run in `new_dir` with that in `old_dir`.

    Absolute times vary more between runs than intervals within a run show; times relative to the
    baseline vary much less. Relative times are compared, unless `absolute` is set or the runs have
    no common baseline.

    Raises:
        ValueError: a folder is no run, or machine, versions or settings differ and
            `across_machines` is not set.
    """
    runs = RunFolder(old_dir), RunFolder(new_dir)
    rows = [_requested_rows(run) for run in runs]
    found = list(_differences(*runs))
    ids = [one for own in rows for one in own["environment_id"].unique()]
    if not found and len({*ids}) > 1:
        found.append(f"environment_id: {ids[0]!r} against {ids[1]!r}")
    if found and not across_machines:
        raise ValueError(
            f"{runs[0]} and {runs[1]} differ in {'; '.join(found)}; "
            "to compare them anyway, use --across-machines"
        )
    margin = runs[1].request.margin if margin is None else margin
    baseline = None if absolute else _common_baseline(runs, rows)
    old, new = (read_cases(own, baseline or "") for own in rows)
    judged = _judge(_pair(old, new), old, new, baseline, margin)
    gaps = [gap for age, run, own in zip(("old", "new"), runs, (old, new), strict=True)
            for gap in _gaps(age, run, len(own.info))]  # fmt: skip
    return RunComparison(*judged, baseline, margin, found, gaps)


def _gaps(age: str, run: RunFolder, cases: int) -> Iterator[str]:
    """Yield sentences on how a run that has these `cases` is incomplete."""
    if run.unfinished:
        yield f"The {age} run is unfinished: {run.unfinished}."
    if cases < run.request.cases:
        yield f"The {age} run has {cases} of its {run.request.cases} requested cases."


def _requested_rows(run: RunFolder) -> DataFrame:
    """Return the rows of the requested cases, all of one environment."""
    rows = split(run.measurements).requested
    if (found := rows["environment_id"].nunique()) > 1:
        raise ValueError(f"{run} has rows of {found} environments; only 1 is allowed")
    return rows


def _differences(old: RunFolder, new: RunFolder) -> Iterator[str]:
    """Yield differences such as `settings.allocator: 'retain' against 'system'`."""
    if bool(old.environment) != bool(new.environment):
        yield f"{store.ENVIRONMENT}: only the {'old' if old.environment else 'new'} run has one"
        return
    before, now = (select(run.environment, Use.COMPARE) for run in (old, new))
    for name in sorted(before.keys() | now.keys()):
        values = [before.get(name), now.get(name)]
        if values[0] != values[1]:
            texts = ["not recorded" if value is None else repr(value) for value in values]
            yield f"{name}: {texts[0]} against {texts[1]}"


def _common_baseline(runs: Sequence[RunFolder], rows: Sequence[DataFrame]) -> str | None:
    """Return a baseline that both runs have timed; None if there is no other common backend."""
    old, new = ({*own.loc[own["status"] == "ok", "backend"]} for own in rows)
    names = [str(run.environment.get("baseline") or BASELINE) for run in runs]
    return next((name for name in names if name in old & new and len(old & new) > 1), None)


def _pair(old: Cases, new: Cases) -> DataFrame:
    """Return one row per case of either run, with its row number in each."""
    before, now = (
        run.info[[*SHARED_COLUMNS, "status"]].assign(row=np.arange(len(run.info)))
        for run in (old, new)
    )
    now["reason"] = new.info["reason"]
    pairs = before.merge(now, how="outer", on=list(SHARED_COLUMNS), suffixes=("_old", "_new"))
    return label_cases(pairs.assign(environment_id=""))


def _judge(
    cases: DataFrame, old: Cases, new: Cases, baseline: str | None, margin: float
) -> tuple[DataFrame, DataFrame]:
    """Return the cases with times, changes and verdicts, and the mean changes."""
    sides = ((old, cases.pop("row_old")), (new, cases.pop("row_new")))
    plain = [_rows(-run.log_s, place) for run, place in sides]
    relative = [_rows(run.log_speedup, place) for run, place in sides]
    for age, speed, speedup in zip(("old", "new"), plain, relative, strict=True):
        cases[f"{age}_s"] = np.exp(-estimate(speed).mean)
        cases[f"{age}_speedup"] = np.exp(estimate(speedup).mean)
    is_baseline = (cases["backend"] == (baseline or "")).to_numpy(dtype=bool)[:, np.newaxis]
    before, now = relative if baseline else plain
    found = difference(estimate(now), estimate(before))
    found = Estimate(*(np.where(is_baseline[:, 0], np.nan, part) for part in found))
    for name, ends in zip(_CHANGE, bounds(found), strict=True):
        cases[name] = ends
    timed = cases["old_s"].notna() & cases["new_s"].notna()
    found_verdicts = pd.Series(stored_verdicts(found, margin)).fillna("")
    cases["verdict"] = found_verdicts.mask(timed & is_baseline[:, 0], "baseline")
    failed = (cases["status_old"] == "ok") & cases["status_new"].isin(_FAILED)
    cases["regression"] = ((cases["verdict"] == "slower") | failed).astype(bool)
    # The change of the baseline itself is of absolute times.
    before, now = np.where(is_baseline, plain[0], before), np.where(is_baseline, plain[1], now)
    return cases.drop(columns="environment_id"), _means(cases, before, now)


_CHANGE = ("change", "change_ci_low", "change_ci_high")


def _rows(logs: Array, places: Series[float]) -> Array:
    """Return the rows of `logs` at these places; NaN for a missing place."""
    present = places.notna().to_numpy(dtype=bool)
    taken = np.full((len(places), logs.shape[1]), np.nan)
    taken[present] = logs[places[present].astype(int)]
    return taken


def _means(cases: DataFrame, before: Array, now: Array) -> DataFrame:
    """Return the mean changes over the cases that both runs have timed."""
    both = ~(np.isnan(before).all(axis=1) | np.isnan(now).all(axis=1))
    means = []
    for (setting, backend), own in cases[both].groupby(["setting", "backend"], sort=False):
        found = difference(*(equal_mean(logs[own.index]) for logs in (now, before)))
        row = {"setting": setting, "backend": backend, "cases": len(own)}
        means.append(row | dict(zip(_CHANGE, interval(found), strict=True)))
    return pd.DataFrame(means, columns=["setting", "backend", "cases", *_CHANGE])
