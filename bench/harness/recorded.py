"""Estimators of a speedup compared on the recorded samples of repeated runs of one request.

    python -m bench.harness.recorded RUN RUN...

Prints how the estimators change from run to run, and how much runs differ beyond their intervals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.harness.estimators import ESTIMATORS, OURS, Answer95, Estimator
from bench.harness.interval_methods import Array
from convsweep import formatting
from convsweep.analysis.drift import estimate_drift
from convsweep.analysis.estimates import CONFIDENCE, Estimate, estimate, widened
from convsweep.report.table import Table
from convsweep.report.tables import markdown
from convsweep.results import store
from tests.support.samples import load_samples

Blocks = tuple[Array, Array]
"""Log seconds (passes, rounds, samples) of baseline and backend, padded with NaN."""
Comparisons = Mapping[tuple[str, str], Sequence[Blocks]]
"""One entry per run, by problem and backend."""
_SHORT_CALLS = 5
"""Samples per block, from which on a call is short."""
_CASE = ["problem", "weight_kind", "dtype", "memory_format", "threads", "cache"]


def read_runs(folders: Sequence[Path]) -> Comparisons:
    """Return the comparisons that have at least two passes in every run."""
    found: dict[tuple[str, str], list[Blocks]] = defaultdict(list)
    for folder in folders:
        for key, blocks in _read(folder).items():
            found[key].append(blocks)
    every = {key: runs for key, runs in found.items() if len(runs) == len(folders)}
    if not every:
        raise ValueError("the runs share no comparison that each measured in two passes")
    return every


def _read(folder: Path) -> dict[tuple[str, str], Blocks]:
    rows = store.load(folder)
    rows = rows[(rows["status"] == "ok") & (rows["role"] == "case")]
    samples = {
        number: [np.log(block.to_numpy()) for _, block in of_row.groupby("block")["seconds"]]
        for number, of_row in load_samples(folder).groupby("row")
        if number in rows.index
    }
    baseline, found = str(store.read_environment(folder)["baseline"]), {}
    for case, group in rows.groupby(_CASE):
        by_backend = {
            name: dict(zip(own["pass_index"], own.index, strict=True))
            for name, own in group.groupby("backend")
        }
        base = by_backend.get(baseline, {})
        for name, passes in by_backend.items():
            both = sorted(set(base) & set(passes))
            if name != baseline and len(both) > 1:
                pairs = [(samples[base[index]], samples[passes[index]]) for index in both]
                key = (" ".join(map(str, case)), str(name))
                found[key] = _padded(pairs)
    return found


def _padded(passes: Sequence[tuple[list[Array], list[Array]]]) -> Blocks:
    rounds = max(len(blocks) for both in passes for blocks in both)
    most = max(len(block) for both in passes for blocks in both for block in blocks)
    logs = np.full((2, len(passes), rounds, most), np.nan)
    for index, both in enumerate(passes):
        for which, blocks in enumerate(both):
            for place, block in enumerate(blocks):
                logs[which, index, place, : len(block)] = block
    return logs[0], logs[1]


def answers(estimator: Estimator, comparisons: Comparisons) -> Answer95:
    """Return centre and interval, each (comparisons, runs)."""
    found = [
        [estimator.over_passes(estimator.of_pass(*blocks)) for blocks in runs]
        for runs in comparisons.values()
    ]
    return Answer95(*np.moveaxis(np.array(found, dtype="float64"), -1, 0))


def reference(comparisons: Comparisons) -> Array:
    """Return the ratio of the medians of all samples of all runs, per comparison."""
    of_all = [
        [
            np.nanmedian(np.concatenate([blocks[which].ravel() for blocks in runs]))
            for which in (0, 1)
        ]
        for runs in comparisons.values()
    ]
    return np.asarray(np.subtract(*np.transpose(of_all)))


def changes(centres: Array) -> Array:
    """Return the absolute differences of all pairs of runs."""
    pairs = combinations(range(centres.shape[1]), 2)
    return np.concatenate([np.abs(centres[:, one] - centres[:, other]) for one, other in pairs])


def covered(found: Answer95) -> NDArray[np.float64]:
    """Return 1 where an interval contains the median of the other runs, else 0; NaN without one."""
    runs = found.centre.shape[1]
    others = [np.median(np.delete(found.centre, run, axis=1), axis=1) for run in range(runs)]
    truth = np.transpose(others)
    inside = (found.low <= truth) & (truth <= found.high)
    return np.where(np.isnan(found.low), np.nan, inside)


def of_long_calls(estimator: Estimator, comparisons: Comparisons) -> float:
    """Return by how much more a call takes, as a logarithm, if a block is a single call.

    Of cases with five samples per block or more; not 0 if short calls are favoured.
    """
    logs = [one for runs in comparisons.values() for blocks in runs for one in blocks]
    short = [one for one in logs if np.mean((~np.isnan(one)).sum(axis=-1)) >= _SHORT_CALLS]
    with np.errstate(invalid="ignore"):
        joined = [
            np.log(np.nansum(np.exp(one), axis=-1) / (~np.isnan(one)).sum(axis=-1)) for one in short
        ]
    found = (
        estimator.of_pass(long[..., np.newaxis], one).mean()
        for long, one in zip(joined, short, strict=True)
    )
    return _mean(np.fromiter(found, dtype="float64"))


def estimator_table(comparisons: Comparisons) -> Table:
    """Return one row per estimator, in percent."""
    heads = ("value per pass, mean over passes", "median change", "95th percentile", "bias",
             "long calls", "coverage", "half width")  # fmt: skip
    expected = reference(comparisons)[:, np.newaxis]
    cells = []
    for name, estimator in ESTIMATORS.items():
        found = answers(estimator, comparisons)
        change = changes(found.centre)
        figures = (
            np.median(change),
            np.quantile(change, 0.95),
            np.mean(found.centre - expected),
            of_long_calls(estimator, comparisons),
            _mean(covered(found)),
            _median((found.high - found.low) / 2),
        )
        cells.append((name, *(f"{100 * figure:.1f}" for figure in figures)))
    return Table(heads, cells, frozenset(heads[1:]))


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _median(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


class Drift(NamedTuple):
    """Differences between runs, as standard deviations of a log speedup, and within runs."""

    between: float
    """Of the answers of repeated runs."""
    within: float
    """Of an answer, from the differences between the passes of its run."""
    beyond: float
    """Of a run's own part: what its passes do not show."""
    correlation: float
    """Of consecutive passes; 0 if the machine does not drift within a run."""
    coverage: float
    """Share of intervals that contain the median of the other runs."""
    coverage_beyond: float
    """The same, with the drift between the other runs."""
    half_width: float
    """Median of half the width of these intervals."""
    coverage_correlated: float
    """The same, with the standard error of passes that are as correlated as those of the run."""


def drift(comparisons: Comparisons) -> Drift:
    """Compare the variance between runs with that which their passes suggest."""
    of_pass = ESTIMATORS[OURS].of_pass
    logs = [[of_pass(*blocks) for blocks in runs] for runs in comparisons.values()]
    found = np.array([[estimate(one) for one in runs] for runs in logs], dtype="float64")
    centre, error, degrees = np.moveaxis(found, -1, 0)
    between, within = centre.var(axis=1, ddof=1).mean(), (error**2).mean()
    beyond = max(0.0, float(between - within))
    by_run = np.array([correlation(run) for run in zip(*logs, strict=True)])
    positive = np.maximum(by_run, 0)
    correlated = error * np.sqrt((1 + positive) / (1 - positive))
    with_drift = _interval(_widened(Estimate(centre, error, degrees)))
    deviations = (float(np.sqrt(variance)) for variance in (between, within, beyond))
    return Drift(
        *deviations,
        correlation=float(by_run.mean()),
        coverage=_mean(covered(_interval(Estimate(centre, error, degrees)))),
        coverage_beyond=_mean(covered(with_drift)),
        half_width=_median((with_drift.high - with_drift.low) / 2),
        coverage_correlated=_mean(covered(_interval(Estimate(centre, correlated, degrees)))),
    )


def _widened(found: Estimate) -> Estimate:
    """Return estimates (comparisons, runs), each with the drift between the other runs."""
    columns = []
    for run in range(found.mean.shape[1]):
        others = (np.delete(part, run, axis=1).T for part in found[:2])
        own = Estimate(*(part[:, run] for part in found))
        columns.append(widened(own, estimate_drift(*others).of_comparisons))
    return Estimate(*np.moveaxis(np.array(columns), 0, -1))


def correlation(logs: Sequence[Array]) -> float:
    """Return the correlation of consecutive passes over all comparisons of a run.

    Values are cut to the middle 80 % and divided by their deviation. The mean of a series of n
    passes makes its own correlation smaller by 1 / n, which is added.
    """
    products, passes = 0.0, 0
    for one in logs:
        values = np.clip(one, *np.quantile(one, [0.1, 0.9]))
        deviations = values - values.mean()
        if deviations.any():
            products += float((deviations[1:] * deviations[:-1]).sum() / deviations.var()) + 1
            passes += len(one)
    return min(0.9, products / passes) if passes else 0.0


def _interval(found: Estimate) -> Answer95:
    half = stdtrit(found.degrees, (1 + CONFIDENCE) / 2) * found.standard_error
    return Answer95(found.mean, found.mean - half, found.mean + half)


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, type=Path)
def main(runs: tuple[Path, ...]) -> None:
    """Compare estimators on the samples of repeated runs."""
    try:
        if len(runs) < 4:
            raise ValueError(f"{len(runs)} runs: four at least")
        comparisons = read_runs(runs)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    passes = np.median([len(one[0]) for found in comparisons.values() for one in found])
    click.echo(f"{len(runs)} runs, {len(comparisons)} comparisons, {passes:.0f} passes (median)\n")
    click.echo(markdown(estimator_table(comparisons)))
    found = drift(comparisons)
    click.echo(
        f"Standard deviation between runs {formatting.percent(found.between)}, expected from their "
        f"passes {formatting.percent(found.within)}, a run's own part "
        f"{formatting.percent(found.beyond)}; correlation of consecutive passes "
        f"{found.correlation:.2f}. Coverage {formatting.percent(found.coverage)}, with the drift "
        f"between the other runs {formatting.percent(found.coverage_beyond)} (half width "
        f"{formatting.percent(found.half_width)}), with the correlation "
        f"{formatting.percent(found.coverage_correlated)}."
    )


if __name__ == "__main__":
    main()
