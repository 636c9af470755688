"""Gap between predicted and measured time of separable layers, divided into its causes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pandas import DataFrame

from convsweep.analysis.estimates import Array, Interval, bounds, estimate, half_width
from convsweep.analysis.labels import name_setting
from convsweep.analysis.run import Run
from convsweep.analysis.sample_flags import MOST_TRACED
from convsweep.analysis.separable.comparison import STANDARD, Replacement, SeparableComparison
from convsweep.problems.separable import FACTORED, SEPARABLE, SEPARABLE_PARTS
from convsweep.results.schema import BATCH_SIZE, SETTING_AXES, SIBLING_COLUMNS

PREDICTED = "predicted time"
CAUSES = (
    "standard layer's overhead", "machine's limit (roofline)",
    *(f"{name} kernel's excess" for name in SEPARABLE_PARTS),
    "reorders", "fixed cost per call", "unattributed time",
)  # fmt: skip


class Gap(NamedTuple):
    """Time of one separable layer in parts: the predicted one, then the causes of the rest.

    Parts are shares of the layer's time and add up to 1. A cause that saves time is negative.
    """

    replacement: Replacement
    predicted: Interval
    causes: Mapping[str, Interval]

    @property
    def largest(self) -> str:
        """The cause that costs most."""
        return max(self.causes, key=lambda name: self.causes[name].value)


def find_gaps(comparison: SeparableComparison) -> list[Gap]:
    """Return the gap of each replacement of which kernels, reorders and rooflines are known."""
    gaps = []
    for place, one in enumerate(comparison.replacements):
        names = (STANDARD, *SEPARABLE_PARTS)
        ratios = [one.speedup.value, *(one.shares[name].value for name in SEPARABLE_PARTS)]
        seconds = dict(zip(names, one.separable.value * np.array(ratios), strict=True))
        if all(_is_known(one, name, seconds[name]) for name in names):
            seconds[SEPARABLE] = np.float64(one.separable.value)
            by_pass = {name: np.exp(logs[place]) for name, logs in comparison.log_s.items()}
            values = _shares(one, seconds)
            widths = half_width(estimate(_shares(one, by_pass)))
            ends = np.array([values, values - widths, values + widths]).T.tolist()
            predicted, *causes = (Interval(*own) for own in ends)
            gaps.append(Gap(one, predicted, dict(zip(CAUSES, causes, strict=True))))
    return gaps


def _is_known(one: Replacement, name: str, seconds: float) -> bool:
    """Return whether a part has a roofline and a trace that agrees with its time."""
    part = one.parts[name]
    return part.attainable_s > 0 and part.kernel_s + part.reorder_s <= MOST_TRACED * seconds


def _shares(one: Replacement, seconds: Mapping[str, Array]) -> Array:
    """Return the predicted time and all causes, as shares of the separable layer's time.

    A part needs the time of its MACs at the rate of the standard layer's kernel, or that of its
    roofline if it is longer.
    """
    parts = {name: one.parts[name] for name in SEPARABLE_PARTS}
    predicted_s = seconds[STANDARD] / one.mac_ratio
    of_macs = {name: one.standard.kernel_s * part.problem.macs / one.problem.macs
               for name, part in parts.items()}  # fmt: skip
    least = {name: max(own, parts[name].attainable_s) for name, own in of_macs.items()}
    kernels_s, reorders_s = (
        sum(getattr(part, column) for part in parts.values())
        for column in ("kernel_s", "reorder_s")
    )
    alone_s = sum(seconds[name] for name in parts)
    steps = [
        predicted_s,
        sum(of_macs.values()) - predicted_s,
        sum(least.values()) - sum(of_macs.values()),
        *(part.kernel_s - least[name] for name, part in parts.items()),
        reorders_s,
        alone_s - kernels_s - reorders_s,
        seconds[SEPARABLE] - alone_s,
    ]
    return np.array([step / seconds[SEPARABLE] for step in steps])


class Variant(NamedTuple):
    """Other backend, memory format or batch size of a separable layer, measured in the same run."""

    name: str
    speedup: Interval  # per image


def fastest_variants(run: Run) -> dict[tuple[str, str], Variant]:
    """Return by setting and label the variant that is fastest, if it is faster by the margin."""
    cases = run.cases[run.cases["backend"].str.startswith(FACTORED) & (run.cases["status"] == "ok")]
    axes = ["memory_format", BATCH_SIZE]
    same = [*SIBLING_COLUMNS, *(axis for axis in SETTING_AXES if axis not in axes)]
    found = {}
    for _, own in cases.groupby(same, dropna=False, sort=False):
        log_image_s = run.log_s(own) - np.log(own[[BATCH_SIZE]].to_numpy(dtype="float64"))
        for place in np.flatnonzero(own["backend"] == SEPARABLE):
            speedups = bounds(estimate(log_image_s[place] - log_image_s))
            fastest = int(np.argmax(speedups[0]))
            one, other = own.iloc[place], own.iloc[fastest]
            words = [name_setting(axis, other[axis]) for axis in axes if other[axis] != one[axis]]
            name = " with ".join(filter(None, (other["backend"], " and ".join(words))))
            if speedups[1, fastest] > 1 + run.margin:
                variant = Variant(name, Interval(*speedups[:, fastest]))
                found[one["setting"], one["label"]] = variant
    return found


def gap_table(gaps: Mapping[str, Sequence[Gap]]) -> DataFrame:
    """Return one row per setting, layer and part of its time."""
    return DataFrame([
        {
            "setting": setting, "label": one.label, "problem": one.problem.label,
            "separable_s": one.separable.value, "speedup": one.speedup.value,
            "mac_ratio": one.mac_ratio,
            "part": name, "share": share.value, "ci_low": share.low, "ci_high": share.high,
        }
        for setting, own in gaps.items()
        for gap in own
        for one in [gap.replacement]
        for name, share in {PREDICTED: gap.predicted, **gap.causes}.items()
    ])  # fmt: skip
