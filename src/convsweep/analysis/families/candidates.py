"""All backends of one device, dtype and number of threads as contenders, over memory formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convsweep.analysis.estimates import Array, estimate
from convsweep.analysis.labels import label_cases
from convsweep.analysis.run import Run
from convsweep.formatting import compact
from convsweep.problems.separable import FACTORED, SEPARABLE

if TYPE_CHECKING:
    from pandas import DataFrame, Series

KERNELS, ALGORITHMS, ENGINES = "kernels", "algorithms", "engines"
PLAIN, TORCH = "plain", "torch"
SEPARABLES, SEPARABLE_KERNELS, SEPARABLE_ENGINES = (
    "separable", "separable kernels", "separable engines",
)  # fmt: skip
BASIC = "basic"
FAMILIES = (BASIC, ALGORITHMS, KERNELS, ENGINES)
"""As figures tell them apart: each backend is of one."""
KINDS = ("3x3, stride 1", "1x1", "depthwise", "others")
"""Kinds of layers, that different strategies suit."""
_CONTIGUOUS = "contiguous"


class Candidates(NamedTuple):
    """What may be held against each other, times of all memory formats on one machine setting."""

    name: str
    """Device, dtype and threads, as far as they vary in the run."""
    cases: DataFrame
    """Those with a time; beside a run's columns `format, family` (never missing), `kind`."""
    log_s: Array
    """A row a case, a column a pass; NaN where a case has not that pass."""
    baseline: str
    margin: float
    layers: Mapping[str, frozenset[str]]
    """The labels of each network's layers, also of those without a time; empty where the run ended
    before it came to all of them."""

    @property
    def base(self) -> str:
        """What speedups divide by, in words."""
        return f"{self.baseline} ({self.format})"

    @property
    def format(self) -> str:
        """The memory format that the baseline is taken in."""
        formats = list(dict.fromkeys(self.cases["format"]))
        return _CONTIGUOUS if _CONTIGUOUS in formats or not formats else str(formats[0])

    def has_role(self, role: str) -> NDArray[np.bool_]:
        """Which cases may play a role: one of the constants above.

        A backend that computes from a weight's factors is a role of its own: no dense layer of a
        network gives it any.
        """
        family, backend = self.cases["backend_family"], self.cases["backend"]
        factors = backend.str.startswith(FACTORED)
        own, torch = family == KERNELS, backend == self.baseline
        roles = {
            KERNELS: own & ~factors,
            ALGORITHMS: (family == ALGORITHMS) & ~factors,
            ENGINES: ((family == ENGINES) | torch) & ~factors,
            BASIC: (family == BASIC) & ~factors,
            TORCH: torch,
            PLAIN: torch & (self.cases["format"] == self.format),
            SEPARABLES: backend == SEPARABLE,
            SEPARABLE_KERNELS: factors & own,
            SEPARABLE_ENGINES: factors & ((family == ENGINES) | (backend == SEPARABLE)),
        }
        return roles[role].to_numpy(dtype=bool)

    @property
    def dense_weights(self) -> Candidates:
        """Without the backends that compute from a weight's factors: they compute less."""
        return self.part(~self.cases["backend"].str.startswith(FACTORED))

    def part(self, mask: Series[bool] | NDArray[np.bool_]) -> Candidates:
        """The field of some of its cases."""
        chosen = np.asarray(mask, dtype=bool)
        return self._replace(cases=self.cases[chosen], log_s=self.log_s[chosen])


class BestPick(NamedTuple):
    """The fastest of some cases of one layer."""

    log_s: Array
    """A value a pass: that of the case that the other passes choose. NaN: a pass has none."""
    backend: str
    """Chosen by all passes, as what follows."""
    format: str
    relative_err: float


def read_candidates(run: Run) -> list[Candidates]:
    """One field for each setting, memory formats apart."""
    cases = run.cases.assign(
        own_setting=run.cases["setting"], format=run.cases["memory_format"].astype(str),
        kind=kinds(run.cases),
        memory_format="",
    )  # fmt: skip
    told = label_cases(cases)
    return [
        _field(str(name), part, run)
        for name, part in told.groupby("setting", sort=False)
        if (part["status"] == "ok").any()
    ]


def _field(name: str, cases: DataFrame, run: Run) -> Candidates:
    timed = cases[cases["status"] == "ok"]
    keys = pd.MultiIndex.from_frame(timed[["own_setting", "label", "backend"]])
    log_s = np.log(run.pass_times.reindex(keys).to_numpy(dtype="float64"))
    layers = {
        str(network): frozenset(part["label"])
        for network, part in cases.groupby("workload", sort=False)
        if not run.missing_cases
    }
    return Candidates(name, timed, log_s, run.baseline, run.margin, layers)


def kinds(cases: DataFrame) -> list[str]:
    """Of each case the one of `KINDS` that its layer is of."""
    columns = ["kernel_size", "stride", "dilation", "groups", "in_channels"]
    return [_kind(*row) for row in cases[columns].itertuples(index=False)]


def _kind(kernel: str, stride: str, dilation: str, groups: int, in_channels: int) -> str:
    if groups > 1 and groups == in_channels:
        return "depthwise"
    if groups == 1 and compact(kernel) == "1":
        return "1x1"
    plain = (groups, compact(stride), compact(dilation)) == (1, "1", "1")
    return "3x3, stride 1" if plain and compact(kernel) == "3" else "others"


def pick(field: Candidates) -> BestPick:
    """The fastest of all cases of a field that holds one layer.

    A minimum over noisy times is too good to be true; so each pass is given the time of the case
    that the other passes find the fastest (leaving one out, Stone 1974). One pass alone chooses
    for itself. Passes that not all of the cases have are left out where there are others.
    """
    logs = field.log_s
    there = ~np.isnan(logs)
    whole = there.all(axis=0)
    passes = np.flatnonzero(whole if whole.any() else there.any(axis=0))
    chosen = np.full(logs.shape[1], np.nan)
    for index in passes:
        others = logs[:, passes[passes != index]] if len(passes) > 1 else logs[:, passes]
        ranked = np.where(there[:, index], _centres(others), np.inf)
        chosen[index] = logs[int(np.argmin(ranked)), index]
    best = field.cases.iloc[int(np.argmin(_centres(logs[:, passes])))]
    return BestPick(chosen, best["backend"], best["format"], float(best["relative_err"]))


def _centres(logs: Array) -> Array:
    """What each case's time is about; infinite where it has none."""
    centres = estimate(logs).mean
    return np.asarray(np.where(np.isnan(centres), np.inf, centres))


def log_speedups(field: Candidates) -> Array:
    """Of every case, pass by pass, the baseline's time in its one format / this case's time.

    Logarithms, a row a case; NaN where the layer has no time on the baseline.
    """
    base = field.part(field.has_role(PLAIN))
    row_of = {label: row for row, label in enumerate(base.cases["label"])}
    rows = [row_of.get(label, len(row_of)) for label in field.cases["label"]]
    nobody = np.full((1, field.log_s.shape[1]), np.nan)
    return np.asarray(np.vstack([base.log_s, nobody])[rows] - field.log_s)


def picks(field: Candidates, *roles: str) -> dict[str, BestPick]:
    """The fastest of some roles on each layer where one has a time, by the layer's label."""
    return best_by_layer(field.part(np.any([field.has_role(role) for role in roles], axis=0)))


def best_by_layer(part: Candidates) -> dict[str, BestPick]:
    """The fastest of all cases of a field on each layer, by the layer's label."""
    rows = part.cases.reset_index(drop=True).groupby("label", sort=False).indices
    return {
        str(label): pick(part._replace(cases=part.cases.iloc[at], log_s=part.log_s[at]))
        for label, at in rows.items()
    }
