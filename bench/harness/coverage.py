"""Coverage of intervals and error rates of verdicts, on simulated passes.

    python -m bench.harness.coverage

Writes coverage.csv, and prints the tables of docs/statistics.md. Takes two minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import click
import numpy as np
import pandas as pd

from bench.harness.estimators import ESTIMATORS
from bench.harness.interval_methods import METHODS, Array, Interval
from bench.harness.simulated_drift import DRIFTS, RUNS, drifts
from bench.harness.simulated_drift import METHODS as METHODS_OF_DRIFT
from bench.harness.simulated_passes import (
    BURSTS,
    SCENARIOS,
    Scenario,
    SimulatedPasses,
    draw,
    draw_blocks,
)
from bench.harness.verdict_errors import DEVIATIONS, STOPS, TRUE_SPEEDUPS, Row, corrections, looks
from convsweep.report.table import Table
from convsweep.report.tables import markdown

FILE = "coverage.csv"
TRIALS, PASSES, ESTIMATOR_PASSES = 2000, (3, 5, 8, 10, 12, 20), 8
Method = Callable[[Array], Interval]


@cache
def _long(scenario: Scenario) -> SimulatedPasses:
    """Return enough passes that their median is the expected value."""
    return draw(scenario, np.random.default_rng(1), runs=20_000, passes=20)


def intervals(
    scenario: Scenario, passes: int, methods: Mapping[str, Method] = METHODS, trials: int = TRIALS
) -> Iterator[Row]:
    """Return the coverage of 95 % intervals of speedups and times, one row per method.

    `coverage` is the fraction that covers the median of all passes, `mean` the mean of them.
    `quiet` and `noisy` cover the quarters of trials with the smallest and largest deviations.
    """
    drawn = draw(scenario, np.random.default_rng([2, passes]), trials, passes)
    for subject in ("speedup", "time"):
        every, logs = (getattr(runs, f"log_{subject}") for runs in (_long(scenario), drawn))
        deviation = getattr(drawn, f"{subject}_deviation")
        quiet, noisy = np.quantile(deviation, [0.25, 0.75])
        expected, mean = np.median(every), every.mean()
        for method, ends in methods.items():
            low, high = ends(logs)
            covered = np.where(np.isnan(low), np.nan, (low <= expected) & (expected <= high))
            yield {
                "study": "intervals",
                "scenario": scenario.name,
                "passes": passes,
                "subject": subject,
                "method": method,
                "trials": trials,
                "coverage": covered.mean(),
                "quiet": covered[deviation <= quiet].mean(),
                "noisy": covered[deviation >= noisy].mean(),
                "mean": (covered * 0 + ((low <= mean) & (mean <= high))).mean(),
                "width": float(np.median(high - low)),
                "moves": _moves((low + high) / 2),
            }


def estimators(scenario: Scenario, passes: int, trials: int = TRIALS) -> Iterator[Row]:
    """Return bias, change between runs and coverage of the true speedup, one row per estimator."""
    blocks = draw_blocks(scenario, np.random.default_rng([5, passes]), trials, passes)
    for name, estimator in ESTIMATORS.items():
        centre, low, high = estimator.over_passes(estimator.of_pass(*blocks))
        half = trials // 2
        change = np.abs(centre[:half] - centre[half : 2 * half])
        yield {
            "study": "estimators",
            "scenario": scenario.name,
            "passes": passes,
            "method": name,
            "trials": trials,
            "coverage": np.where(np.isnan(low), np.nan, (low <= 0) & (high >= 0)).mean(),
            "bias": float(np.mean(centre)),
            "width": float(np.median(high - low)),
            "change": float(np.median(change)),
            "moves": float(np.quantile(change, 0.95)),
        }


def _moves(centres: Array) -> float:
    """Return the 95th percentile of the difference between two runs."""
    half = len(centres) // 2
    return float(np.quantile(np.abs(centres[:half] - centres[half : 2 * half]), 0.95))


def simulate(echo: Callable[[str], None] = lambda line: None) -> pd.DataFrame:
    """Simulate all studies: one row per scenario and method."""
    rows: list[Row] = []
    for scenario in SCENARIOS:
        echo(f"intervals: {scenario.name}")
        rows += [row for passes in PASSES for row in intervals(scenario, passes)]
    for scenario in (*SCENARIOS, BURSTS):
        echo(f"estimators: {scenario.name}")
        rows += estimators(scenario, ESTIMATOR_PASSES)
    for between in DRIFTS:
        echo(f"drift: {between}")
        rows += [row for runs in RUNS for row in drifts(between, runs)]
    for effects in TRUE_SPEEDUPS:
        echo(f"verdicts: {effects}")
        for deviation in DEVIATIONS:
            rows += [row for passes in PASSES for row in corrections(effects, deviation, passes)]
            rows += [looks(effects, deviation, stop) for stop in STOPS]
    return pd.DataFrame(rows)


OURS = "trimmed mean"
VALID_METHODS = (OURS, "mean", "signed rank")
"""Methods whose intervals reach their nominal coverage."""


def tables(results: pd.DataFrame) -> dict[str, Table]:
    """Return the tables of docs/statistics.md by name, in percent."""
    studies = ("intervals", "estimators", "drift", "verdicts", "looks")
    tried, estimated, drifted, judged, looked = (
        results[results["study"] == study] for study in studies
    )
    speedups, times = (tried[tried["subject"] == subject] for subject in ("speedup", "time"))
    worst = speedups.groupby(["method", "passes"], sort=False)[["coverage", "noisy"]].min()
    shared = speedups[(speedups["scenario"] == "shared") & speedups["method"].isin(VALID_METHODS)]
    ours, by_method = judged["estimator"] == OURS, judged["method"] == "Benjamini-Hochberg"
    drifted = drifted.pivot(index=["scenario", "passes"], columns="method", values="coverage")
    half = judged[by_method & judged["scenario"].str.startswith("half 5 %")]
    seeking = half.assign(estimator=half["scenario"] + ": " + half["estimator"])
    return {
        "speedups": _pivot(speedups[speedups["method"] == OURS], "scenario", "passes", "coverage"),
        "times": _pivot(times[times["method"] == OURS], "scenario", "passes", "coverage"),
        "methods": _pivot(worst.reset_index(), "method", "passes", "coverage", "noisy"),
        "widths": _pivot(shared, "method", "passes", "width", "moves"),
        "estimators": _pivot(estimated, "method", "scenario", "change", "moves"),
        "biases": _pivot(estimated, "method", "scenario", "bias", "coverage"),
        "drift": _pivot(drifted.reset_index(), "scenario", "passes", *METHODS_OF_DRIFT),
        "corrections": _pivot(
            judged[ours & (judged["passes"] == 8)], "scenario", "method", "false_alarms", "found"
        ),
        "power": _pivot(seeking, "estimator", "passes", "found"),
        "looks": _pivot(looked, "scenario", "method", "false_alarms", "found", "coverage"),
    }


def _pivot(rows: pd.DataFrame, index: str, columns: str, *values: str) -> Table:
    """Return one row per `index` and one column per `columns`; values are joined by `/`."""
    cells = rows[[*values]].mul(100).map(_cell).agg(" / ".join, axis=1)
    wide = rows.assign(cell=cells).pivot_table(
        index=index, columns=columns, values="cell", aggfunc="first", sort=False
    )
    heads = (index, *(x if isinstance(x, str) else f"{x:.0f}" for x in wide.columns))
    lines = [(str(name), *row) for name, row in zip(wide.index, wide.to_numpy(), strict=True)]
    return Table(heads, lines, frozenset(heads[1:]))


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}" if abs(value) < 1 else f"{value:.1f}"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/harness"))
def main(out: Path) -> None:
    """Simulate passes, write coverage.csv and print the tables."""
    results = simulate(lambda line: click.echo(line, err=True))
    out.mkdir(parents=True, exist_ok=True)
    results.to_csv(out / FILE, index=False, lineterminator="\n", float_format="%.5g")
    for name, table in tables(results).items():
        click.echo(f"{name}\n\n{markdown(table)}")


if __name__ == "__main__":
    main()
