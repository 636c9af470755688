"""False verdicts, and effects of 2 and 5 % found, over repeated A/A runs of the eight pairs.

    python -m bench.harness.effects --runs 15 --budget 60s --out DIR

Each run is that of `convsweep noise`: both layers of every pair against themselves, and against
themselves plus 5 % more calls, 16 comparisons of each kind. Further effects are computed: the
times of the second of two equals are multiplied. With --equals only these are measured, in more
passes. A verdict of the default margin, 2 %, cannot find an effect of 2 %; that of margin 0 can.
Finished runs in DIR are kept. Writes effects.csv there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import click
import numpy as np
import pandas as pd
from pandas import DataFrame

from bench.harness.pairs import PAIR_SETS, write_problems
from convsweep import formatting
from convsweep.analysis.summary import summarize
from convsweep.report.table import Table
from convsweep.report.tables import markdown
from convsweep.results import store
from convsweep.results.schema import MARGIN, pass_times
from convsweep.sweep.executor import LocalExecutor
from convsweep.sweep.request import Options, aa_request, read_request
from convsweep.sweep.session import run_sweep

FILE = "effects.csv"
MARGINS = (MARGIN, 0.0)


class Effect(NamedTuple):
    """Comparison of a layer with a variant of known speed."""

    name: str
    suffix: str
    """End of the variant's name."""
    slowdown: float
    """Its true time, relative to the layer's."""
    factor: float = 1.0
    """Times of the variant are multiplied by this."""


EFFECTS = (
    Effect("none", "+again", 1.0),
    Effect("2 %, computed", "+again", 1.02, 1.02),
    Effect("5 %, computed", "+again", 1.05, 1.05),
    Effect("5 %, extra calls", "+5%", 1.05),
)


def compared(measurements: DataFrame) -> DataFrame:
    """Return one row per layer, effect and margin: the speedup, its interval and its verdict."""
    names = measurements["backend"].str.partition("+")
    ends = names[1] + names[2]
    backend = pd.Series(np.where(ends == "", "itself", "variant"), ends.index, "string")
    pairs = measurements.assign(layer=names[0], backend=backend)
    found = []
    for effect in EFFECTS:
        rows = pairs[ends.isin(["", effect.suffix])]
        factor = np.where(rows["backend"] == "variant", effect.factor, 1.0)
        rows = rows.assign(time_s=pass_times(rows) * factor)
        for margin in MARGINS:
            summary = summarize(rows, "itself", margin)
            variants = summary[(summary["backend"] == "variant") & summary["speedup"].notna()]
            truth = 1 / effect.slowdown
            found.append(variants.assign(effect=effect.name, truth=truth, margin=margin))
    columns = ["problem", "layer", "effect", "truth", "margin", "passes", "speedup",
               "speedup_ci_low", "speedup_ci_high", "verdict"]  # fmt: skip
    return pd.concat(found, ignore_index=True)[columns]


def rates(rows: DataFrame) -> Table:
    """Return one row per effect and margin: comparisons, verdicts, coverage of the intervals."""
    verdicts = ("faster", "same", "slower", "undecided")
    heads = ("slower by", "margin", "comparisons", *verdicts, "intervals with the truth")
    cells = []
    for (effect, margin), found in rows.groupby(["effect", "margin"], sort=False):
        known = found.dropna(subset="speedup_ci_low")
        covered = (known["speedup_ci_low"] <= known["truth"]) & (
            known["truth"] <= known["speedup_ci_high"]
        )
        counts = [str((found["verdict"] == verdict).sum()) for verdict in verdicts]
        coverage = f"{covered.sum()} of {len(known)}"
        cells.append((str(effect), formatting.percent(margin), str(len(found)), *counts, coverage))
    return Table(heads, cells, frozenset(heads[1:]))


def measure(
    out: Path, runs: int, budget: str, pairs: str, equals: bool, echo: Callable[[str], None]
) -> DataFrame:
    """Make the missing runs; return the comparisons of all."""
    out.mkdir(parents=True, exist_ok=True)
    problems = out / "problems.csv"
    write_problems(PAIR_SETS[pairs](), problems)
    found = []
    for number in range(1, runs + 1):
        folder = out / f"run-{number:02}"
        if not (folder / "summary.csv").is_file():
            options = Options(
                problems=problems, backends=("torch_conv", "separable"), budget=budget,
                started_s=monotonic(),
            )  # fmt: skip
            request = aa_request(read_request(options))
            if equals:
                names = [name for name in request.backends if "%" not in name]
                cases = [case for case in request.cases if case.backend in names]
                kept = {name: request.backends[name] for name in names}
                request = replace(request, cases=cases, backends=kept)
            executor = LocalExecutor(request)
            run_sweep(executor, folder, folder.name, "bench.harness.effects", lambda progress: None)
        rows = compared(store.load(folder)).assign(run=number)
        found.append(rows)
        echo(f"run {number} of {runs}: {rows['passes'].median():.0f} passes")
    every = pd.concat(found, ignore_index=True)
    every.to_csv(out / FILE, index=False, lineterminator="\n", float_format="%.6g")
    return every


@click.command()
@click.option("--runs", metavar="N", type=click.IntRange(1), default=15, show_default=True)
@click.option("--budget", metavar="TIME", default="60s", show_default=True)
@click.option("--pairs", type=click.Choice([*PAIR_SETS]), default="mobilenet", show_default=True)
@click.option("--equals", is_flag=True, help="Leave out the variants with extra calls.")
@click.option("--out", metavar="DIR", type=Path, required=True)
def main(runs: int, budget: str, pairs: str, equals: bool, out: Path) -> None:
    """Count false verdicts and true effects found."""
    click.echo(markdown(rates(measure(out, runs, budget, pairs, equals, click.echo))))


if __name__ == "__main__":
    main()
