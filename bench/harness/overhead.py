"""Overhead of convsweep per case, for grids of no-op cases of growing size.

    python -m bench.harness.overhead --out results/harness

Overhead is the run time minus samples x iterations x median over the rows. It contains inputs,
gate, warm-up, calibration, messages, rows on the disk and the summary.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import pandas as pd
from pandas import DataFrame

from bench.harness.timing_tools import ROOT
from convsweep.measure.outcome import utc_now
from convsweep.system.environment import describe
from convsweep.system.processor import cpu_name

FILE = "overhead.csv"
SIZES = (10, 100, 1_000, 10_000)

LIMIT_S = 0.005
"""Limit of the overhead per case."""
LIMIT_BYTES = 30_000_000
"""Limit of a process's memory gain over ten thousand cases."""


def measure_sizes(
    sizes: Sequence[int], out: Path, echo: Callable[[str], None] = lambda line: None
) -> None:
    """Measure every size in a fresh process; rewrite the file row by row."""
    out.mkdir(parents=True, exist_ok=True)
    commit = describe({"cpu": cpu_name()})["commit"]
    with (out / FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for cases in sizes:
            row = {"started_at": utc_now(), "commit": commit, **_measure(cases)}
            if cases == sizes[0]:
                writer.writerow(row.keys())
            writer.writerow(row.values())
            file.flush()
            echo(f"{cases} cases: {row['wall_s']:.1f} s")


def _measure(cases: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        command = [sys.executable, "-m", "bench.harness.noop_sweep", str(cases), f"{folder}/run"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{cases} cases: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def load(path: Path) -> DataFrame | None:
    """Return the rows with overhead per case and memory gains, or None without a file.

    `further_case_s` is measured between rows; `whole_case_s` includes start and summary. Memory
    gains are relative to the first row of the smallest run.
    """
    if not path.is_file():
        return None
    table = pd.read_csv(path).sort_values("cases", ignore_index=True)
    table["further_case_s"] = (table["sweep_s"] - table["timing_s"]) / (table["cases"] - 1)
    table["whole_case_s"] = (table["wall_s"] - table["timing_s"]) / table["cases"]
    few = table.iloc[0]
    table["child_gains_bytes"] = table["child_rss_bytes_most"] - few["child_rss_bytes_first"]
    table["parent_gains_bytes"] = table["parent_rss_bytes_most"] - few["parent_rss_bytes_first"]
    table["summary_gains_bytes"] = table["parent_peak_bytes"] - few["parent_rss_bytes_first"]
    return table


@click.command()
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
def main(out: Path) -> None:
    """Measure the overhead of runs of ten to ten thousand no-op cases."""
    measure_sizes(SIZES, out, echo=click.echo)


if __name__ == "__main__":
    main()
