"""Are the intervals true, and the verdicts right? Simulated passes, whose truth is known.

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

from bench.harness.interval_methods import METHODS, Interval, Array
from bench.harness.verdict_errors import DEVIATIONS, STOPS, TRUE_SPEEDUPS, Row, corrections, looks
from bench.harness.simulated_passes import SCENARIOS, SimulatedPasses, Scenario, draw
from convsweep.report.tables import Table, markdown

FILE = "coverage.csv"
TRIALS, PASSES = 2000, (3, 5, 8, 10, 12, 20)
Method = Callable[[Array], Interval]


@cache
def _long(scenario: Scenario) -> SimulatedPasses:
    """So many passes that their mean is the truth."""
    return draw(scenario, np.random.default_rng(1), runs=20_000, passes=20)


def intervals(
    scenario: Scenario, passes: int, methods: Mapping[str, Method] = METHODS, trials: int = TRIALS
) -> Iterator[Row]:
    """How many 95 % intervals, of a speedup and of a time, hold the median of all passes.

    `quiet` and `noisy` count the quarters of the trials whose passes differ least and most, and
    `mean` takes the mean of all passes for the truth.
    """
    drawn = draw(scenario, np.random.default_rng([2, passes]), trials, passes)
    for subject in ("speedup", "time"):
        every, logs = (getattr(runs, f"log_{subject}") for runs in (_long(scenario), drawn))
        deviation = getattr(simulated, f"{subject}_deviation")
        quiet, noisy = np.quantile(deviation, [0.25, 0.75])
        truth, mean = np.median(every), every.mean()
        for method, ends in methods.items():
            low, high = ends(logs)
            held = np.where(np.isnan(low), np.nan, (low <= truth) & (truth <= high))
            yield {
                "study": "intervals",
                "scenario": scenario.name,
                "passes": passes,
                "subject": subject,
                "method": method,
                "trials": trials,
                "coverage": held.mean(),
                "quiet": held[deviation <= quiet].mean(),
                "noisy": held[deviation >= noisy].mean(),
                "mean": (held * 0 + ((low <= mean) & (mean <= high))).mean(),
                "width": float(np.median(high - low)),
                "moves": _moves((low + high) / 2),
            }


def _moves(centres: Array) -> float:
    """What 95 % of all pairs of runs differ by at most."""
    half = len(centres) // 2
    return float(np.quantile(np.abs(centres[:half] - centres[half : 2 * half]), 0.95))


def simulate(echo: Callable[[str], None] = lambda line: None) -> pd.DataFrame:
    """Every study, a row for each thing that was tried."""
    rows: list[Row] = []
    for scenario in SCENARIOS:
        echo(f"intervals: {scenario.name}")
        rows += [row for passes in PASSES for row in intervals(scenario, passes)]
    for truth in TRUE_SPEEDUPS:
        echo(f"verdicts: {truth}")
        for deviation in DEVIATIONS:
            rows += [row for passes in PASSES for row in corrections(truth, deviation, passes)]
            rows += [looks(truth, deviation, stop) for stop in STOPS]
    return pd.DataFrame(rows)


OURS = "trimmed mean"
WORTH_IT = (OURS, "mean", "signed rank")
"""The methods whose intervals are true."""


def tables(found: pd.DataFrame) -> dict[str, Table]:
    """What the page shows, by a name for each; percent, several in a cell told apart by `/`."""
    tried, judged, looked = (
        found[found["study"] == study] for study in ("intervals", "verdicts", "looks")
    )
    speedups, times = (tried[tried["subject"] == subject] for subject in ("speedup", "time"))
    worst = speedups.groupby(["method", "passes"], sort=False)[["coverage", "noisy"]].min()
    shared = speedups[(speedups["scenario"] == "shared") & speedups["method"].isin(WORTH_IT)]
    ours, by_method = judged["estimator"] == OURS, judged["method"] == "Benjamini-Hochberg"
    half = judged[by_method & judged["scenario"].str.startswith("half 5 %")]
    seeking = half.assign(estimator=half["scenario"] + ": " + half["estimator"])
    return {
        "speedups": _pivot(speedups[speedups["method"] == OURS], "scenario", "passes", "coverage"),
        "times": _pivot(times[times["method"] == OURS], "scenario", "passes", "coverage"),
        "methods": _pivot(worst.reset_index(), "method", "passes", "coverage", "noisy"),
        "widths": _pivot(shared, "method", "passes", "width", "moves"),
        "corrections": _pivot(
            judged[ours & (judged["passes"] == 8)], "scenario", "method", "false_alarms", "found"
        ),
        "power": _pivot(seeking, "estimator", "passes", "found"),
        "looks": _pivot(looked, "scenario", "method", "false_alarms", "found", "coverage"),
    }


def _pivot(rows: pd.DataFrame, index: str, columns: str, *values: str) -> Table:
    """A row an `index`, a column each of `columns`."""
    cells = rows[[*values]].mul(100).map(_cell).agg(" / ".join, axis=1)
    wide = rows.assign(cell=cells).pivot_table(
        index=index, columns=columns, values="cell", aggfunc="first", sort=False
    )
    heads = (index, *(x if isinstance(x, str) else f"{x:.0f}" for x in wide.columns))
    lines = [(str(name), *row) for name, row in zip(wide.index, wide.to_numpy(), strict=True)]
    return Table(heads, lines, frozenset(heads[1:]))


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}" if value < 1 else f"{value:.1f}"


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/harness"))
def main(out: Path) -> None:
    """Simulate, write coverage.csv, print the tables."""
    found = simulate(lambda line: click.echo(line, err=True))
    out.mkdir(parents=True, exist_ok=True)
    found.to_csv(out / FILE, index=False, lineterminator="\n", float_format="%.5g")
    for name, table in tables(found).items():
        click.echo(f"{name}\n\n{markdown(table)}")


if __name__ == "__main__":
    main()
