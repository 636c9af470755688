"""Traces of what a call runs: how many cases have a name, and where the time of some layers goes.

    python -m bench.harness.traces named
    python -m bench.harness.traces layers

`named` runs 60 of ConvBench's problems once on all backends, in two layouts, on one and two
threads, and prints the share of cases with an implementation. It takes half an hour; with
`--backend basic` three minutes. `layers` measures six layers in twelve runs, and prints the time
of a call, of its kernel and of its reorders with 95 % intervals, beside earlier figures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pandas as pd
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.estimates import estimate, interval
from convsweep.problems import workloads
from convsweep.report.table import Table
from convsweep.report.tables import markdown
from convsweep.results.store import load

RUNS = 12
SETTINGS = ("--memory-format", "contiguous", "--memory-format", "channels_last")
COLUMNS = (
    "batch_size,in_channels,height,width,out_channels,kernel_h,kernel_w,stride_h,stride_w,"
    "pad_h,pad_w,dilation_h,dilation_w,groups,bias"
)
EARLIER = {
    (16, 28, 3, 16): ("96: kernel 5, reorders 5.5", "57: kernel 5, reorder 0.7"),
    (64, 56, 3, 64): ("313: kernel 79, reorders 69", "233: kernel 64"),
    (256, 28, 3, 256): ("505: kernel 70, reorders 89", "220: kernel 131, reorder 2"),
    (16, 7, 3, 1): ("14: not oneDNN", ""),
    (4, 7, 1, 1): ("4: not oneDNN", ""),
    (256, 14, 3, 1): ("4157: weight reorder 1078", ""),
}
"""Microseconds per call on another machine, by channels, size, kernel and groups."""


def measure(out: Path, problems: Path, *words: str) -> DataFrame:
    """Run convsweep and return its rows."""
    command = [sys.executable, "-m", "convsweep", "run", "--problems", str(problems)]
    subprocess.run([*command, *SETTINGS, "--no-ceilings", *words, "--out", str(out)], check=False)
    rows = load(out)
    return rows[rows["role"] == "case"]


@click.group()
def main() -> None:
    """Measure what calls run."""


@main.command()
@click.option("--backend", "backends", multiple=True, default=("all",))
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/traces-named"))
def named(backends: tuple[str, ...], out: Path) -> None:
    """Print the share of cases with an implementation, by backend and setting."""
    sample = pd.read_csv(Path(workloads.__file__).parent / f"{workloads.CONVBENCH}.csv")
    chosen = sample.groupby("kind").nth(slice(0, None, 5))
    out.parent.mkdir(parents=True, exist_ok=True)
    problems = out.with_suffix(".csv")
    chosen[COLUMNS.split(",")].to_csv(problems, index=False)
    words = [word for name in backends for word in ("--backend", name)]
    rows = measure(out, problems, *words, "--threads", "1", "--threads", "2", "--passes", "1")
    ok = rows[rows["status"] == "ok"]
    click.echo(f"{len(chosen)} problems, {len(ok)} cases that are ok\n")
    columns = {name: ok[name].notna() for name in ("implementation", "kernel_s", "reorders")}
    shares = DataFrame(columns).groupby(
        [ok["backend"], ok["memory_format"], ok["threads"].astype(str)]
    )
    found = shares.mean().reset_index().assign(cases=shares.size().to_numpy())
    cells = [
        (*row[:3], *map(formatting.percent, row[3:6]), str(row[6]))
        for row in found.itertuples(index=False, name=None)
    ]
    click.echo(markdown(Table(tuple(found.columns), cells)))
    click.echo(f"\nNamed: {formatting.percent(columns['implementation'].mean())}")
    reasons = ok.loc[ok["implementation"].isna(), "sample_flags"].value_counts()
    click.echo("\n".join(f"{count} x {reason}" for reason, count in reasons.items()))


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/traces-layers"))
@click.option("--allocator", default="retain")
def layers(out: Path, allocator: str) -> None:
    """Print where the time of six layers goes, with intervals over runs."""
    out.mkdir(parents=True)
    problems = out / "layers.csv"
    lines = [
        f"1,{c},{size},{size},{c},{k},{k},1,1,{k // 2},{k // 2},1,1,{groups},0"
        for c, size, k, groups in EARLIER
    ]
    problems.write_text("\n".join([COLUMNS, *lines]))
    words = ("--backend", "torch_conv", "--passes", "1", "--allocator", allocator)
    runs = [measure(out / str(i), problems, *words) for i in range(RUNS)]
    rows = pd.concat(runs)
    rows["fixed_s"] = rows["median_s"] - rows["kernel_s"] - rows["reorder_s"]
    cells = []
    for (problem, layout), own in rows.groupby(["problem", "memory_format"], sort=False):
        first = own.iloc[0]
        groups = first["groups"]
        size, kernel = (int(first[name].split("x")[0]) for name in ("input_size", "kernel_size"))
        earlier = EARLIER[first["in_channels"], size, kernel, groups]
        times = [_time(own[f"{name}_s"]) for name in ("median", "kernel", "reorder", "fixed")]
        names = "; ".join(own["implementation"].dropna().unique())
        cells.append((problem, layout, names, str(first["reorders"]), *times,
                      earlier[layout == "channels_last"]))  # fmt: skip
    heads = ("problem", "layout", "implementation", "reorders", "call", "kernel", "reorder_s",
             "fixed", "earlier, µs")  # fmt: skip
    click.echo(markdown(Table(heads, cells)))


def _time(seconds: pd.Series[float]) -> str:
    """Return the mean over runs with its interval; `-` if it is not above 0 in all runs."""
    if not (seconds > 0).all():
        return "-"
    return formatting.time(*interval(estimate(np.log(seconds.to_numpy(dtype="float64")))))


if __name__ == "__main__":
    main()
