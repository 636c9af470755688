"""int8 backends against the same engine in float32, pass by pass."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from convsweep.analysis.estimates import Array, Interval, equal_mean, estimate, interval
from convsweep.analysis.run import Run

INT8_SUFFIX = "_int8"  # End of the name of an engine in int8; the rest is its name in float32


class QuantizedCase(NamedTuple):
    """One layer on an int8 backend; an interval is unknown without a time of the other backend."""

    setting: str
    label: str
    backend: str
    sqnr_db: float
    relative_err: float
    baseline_time: Interval
    float_time: Interval
    time: Interval
    log_speedups: Array  # over the engine in float32, (passes,)


def read_quantized(run: Run) -> list[QuantizedCase]:
    """Return the timed int8 cases of a run by backend, each in the order of the run."""
    found = []
    columns = ["backend", "setting", "label", "sqnr_db", "relative_err"]
    cases = run.quantized.reindex(columns=columns).sort_values("backend", kind="stable")
    for backend, setting, label, db, error in cases.to_numpy():
        names = (run.baseline, backend.removesuffix(INT8_SUFFIX), backend)
        keys = pd.MultiIndex.from_tuples([(setting, label, name) for name in names])
        logs = np.log(run.pass_times.reindex(keys).to_numpy(dtype="float64"))
        of_baseline, of_engine, own = (interval(estimate(each)) for each in logs)
        times = (of_baseline, of_engine, own, logs[1] - logs[2])
        found.append(QuantizedCase(setting, label, backend, float(db), float(error), *times))
    return found


def mean_speedups(run: Run, cases: Sequence[QuantizedCase]) -> dict[str, Interval]:
    """Return the geometric mean of each int8 backend's speedups, where the engine has times."""
    logs: dict[str, list[Array]] = {}
    for case in cases:
        if not np.isnan(case.log_speedups).all():
            logs.setdefault(case.backend, []).append(case.log_speedups)
    drift = run.drift and run.drift.error
    return {name: interval(equal_mean(np.array(own), drift)) for name, own in logs.items()}
