"""Backends of one device, dtype and number of threads, with all their memory formats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas import DataFrame, Series

from convsweep.analysis.estimates import Array, estimate
from convsweep.analysis.labels import label_cases
from convsweep.analysis.run import Run
from convsweep.formatting import compact
from convsweep.problems.separable import FACTORED, SEPARABLE

LAYER_KINDS = ("3x3, stride 1", "1x1", "depthwise", "others")
_KIND_COLUMNS = ["kernel_size", "stride", "dilation", "groups", "in_channels", "output_padding"]
_CONTIGUOUS = "contiguous"


class Role(StrEnum):
    """Backends that are compared as one: a `backend_family`, the baseline, separable layers."""

    BASIC = "basic"
    ALGORITHMS = "algorithms"
    KERNELS = "kernels"
    ENGINES = "engines"
    PLAIN = "plain"
    TORCH = "torch"
    SEPARABLES = "separable"
    SEPARABLE_KERNELS = "separable kernels"
    SEPARABLE_ENGINES = "separable engines"


class Candidates(NamedTuple):
    """Timed cases of one setting, over memory formats, that may be compared with each other."""

    name: str  # device, dtype and threads, as far as they vary in the run
    cases: DataFrame  # the timed cases, with the additional columns `format` and `kind`
    log_s: Array  # (cases, passes); NaN for a pass without a time
    baseline: str
    margin: float
    layers: Mapping[str, frozenset[str]]
    """Labels of each network's layers, with or without a time; empty for an incomplete run."""

    @property
    def baseline_label(self) -> str:
        """Baseline and memory format that speedups are relative to."""
        return f"{self.baseline} ({self.format})"

    @property
    def format(self) -> str:
        """The memory format of the baseline."""
        formats = list(dict.fromkeys(self.cases["format"]))
        return _CONTIGUOUS if _CONTIGUOUS in formats or not formats else str(formats[0])

    def has_role(self, role: Role) -> NDArray[np.bool_]:
        """Return a mask of the cases with a role.

        A backend that computes from the factors of a weight only has a separable role.
        """
        family, backend = self.cases["backend_family"], self.cases["backend"]
        factored = backend.str.startswith(FACTORED)
        own, torch = family == Role.KERNELS, backend == self.baseline
        roles = {
            Role.KERNELS: own & ~factored,
            Role.ALGORITHMS: (family == Role.ALGORITHMS) & ~factored,
            Role.ENGINES: ((family == Role.ENGINES) | torch) & ~factored,
            Role.BASIC: (family == Role.BASIC) & ~factored,
            Role.TORCH: torch,
            Role.PLAIN: torch & (self.cases["format"] == self.format),
            Role.SEPARABLES: backend == SEPARABLE,
            Role.SEPARABLE_KERNELS: factored & own,
            Role.SEPARABLE_ENGINES: factored & ((family == Role.ENGINES) | (backend == SEPARABLE)),
        }
        return roles[role].to_numpy(dtype=bool)

    def select(self, *roles: Role) -> Candidates:
        """Return the cases with one of the roles."""
        return self.where(np.any([self.has_role(role) for role in roles], axis=0))

    def where(self, mask: Series[bool] | NDArray[np.bool_]) -> Candidates:
        """Return the cases of a mask."""
        chosen = np.asarray(mask, dtype=bool)
        return self._replace(cases=self.cases[chosen], log_s=self.log_s[chosen])

    def by_layer(self) -> Iterator[tuple[str, Candidates]]:
        """Yield the label and the cases of each layer."""
        rows = self.cases.reset_index(drop=True).groupby("label", sort=False).indices
        for label, at in rows.items():
            yield str(label), self._replace(cases=self.cases.iloc[at], log_s=self.log_s[at])

    @property
    def dense_weights(self) -> Candidates:
        """The cases of the backends that do not compute from the factors of a weight."""
        return self.where(~self.cases["backend"].str.startswith(FACTORED))


class BestPick(NamedTuple):
    """The fastest of some cases of one layer."""

    log_s: Array  # one value per pass, of the case that the other passes select; NaN for no time
    backend: str  # selected by all passes, as are the following fields
    format: str
    relative_err: float


def read_candidates(run: Run) -> list[Candidates]:
    """Return the candidates of each setting; memory formats are not settings here."""
    cases = run.cases.assign(
        own_setting=run.cases["setting"],
        format=run.cases["memory_format"].astype(str),
        kind=[_kind(*row) for row in run.cases[_KIND_COLUMNS].itertuples(index=False)],
        memory_format="",
    )
    return [
        _candidates(str(name), part, run)
        for name, part in label_cases(cases).groupby("setting", sort=False)
        if (part["status"] == "ok").any()
    ]


def _candidates(name: str, cases: DataFrame, run: Run) -> Candidates:
    timed = cases[cases["status"] == "ok"]
    keys = pd.MultiIndex.from_frame(timed[["own_setting", "label", "backend"]])
    log_s = np.log(run.pass_times.reindex(keys).to_numpy(dtype="float64"))
    layers = {
        str(network): frozenset(part["label"])
        for network, part in cases.groupby("network", sort=False)
        if not run.missing_cases
    }
    return Candidates(name, timed, log_s, run.baseline, run.margin, layers)


def _kind(
    kernel: str, stride: str, dilation: str, groups: int, in_channels: int, output_padding: Any
) -> str:
    """Return the kind of a layer, one of `LAYER_KINDS`."""
    if pd.notna(output_padding):
        return "others"
    if groups > 1 and groups == in_channels:
        return "depthwise"
    if groups == 1 and compact(kernel) == "1":
        return "1x1"
    plain = (groups, compact(stride), compact(dilation)) == (1, "1", "1")
    return "3x3, stride 1" if plain and compact(kernel) == "3" else "others"


def pick_fastest(candidates: Candidates) -> BestPick:
    """Return the fastest of all cases of one layer.

    The minimum of noisy times is biased. Each pass is therefore given the time of the case that
    is the fastest in the other passes (leave one out, Stone 1974); a single pass selects for
    itself. Passes that not all cases have are left out if there are others.
    """
    logs = candidates.log_s
    timed = ~np.isnan(logs)
    complete = timed.all(axis=0)
    passes = np.flatnonzero(complete if complete.any() else timed.any(axis=0))
    chosen = np.full(logs.shape[1], np.nan)
    for index in passes:
        others = logs[:, passes[passes != index]] if len(passes) > 1 else logs[:, passes]
        ranked = np.where(timed[:, index], _centres(others), np.inf)
        chosen[index] = logs[int(np.argmin(ranked)), index]
    best = candidates.cases.iloc[int(np.argmin(_centres(logs[:, passes])))]
    return BestPick(chosen, best["backend"], best["format"], float(best["relative_err"]))


def _centres(logs: Array) -> Array:
    """Return the mean of each case; infinite for a case without a time."""
    centres = estimate(logs).mean
    return np.asarray(np.where(np.isnan(centres), np.inf, centres))


def log_speedups(candidates: Candidates) -> Array:
    """Return the logarithms of the speedups over the baseline in one format, (cases, passes).

    NaN if the baseline has no time on the layer.
    """
    base = candidates.select(Role.PLAIN)
    row_of = {label: row for row, label in enumerate(base.cases["label"])}
    rows = [row_of.get(label, len(row_of)) for label in candidates.cases["label"]]
    missing = np.full((1, candidates.log_s.shape[1]), np.nan)
    return np.asarray(np.vstack([base.log_s, missing])[rows] - candidates.log_s)


def pick_by_layer(candidates: Candidates) -> dict[str, BestPick]:
    """Return the fastest case of each layer that has one, by the layer's label."""
    return {label: pick_fastest(own) for label, own in candidates.by_layer()}
