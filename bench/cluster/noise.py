"""Noise inside and outside a Ray slot: alternating runs of `convsweep noise`.

python -m bench.cluster.noise --rounds 2 --out results/cluster
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import click

from bench.cluster.isolation import run_isolated
from bench.cluster.tables import ROOT, write_rows
from convsweep.analysis.aa_noise import measure_noise
from convsweep.results.store import load

_WAYS = {"alone": (), "slot": ("--ray", "local")}


@dataclass(frozen=True)
class NoiseRun:
    """One A/A run."""

    way: str
    """`alone`: without Ray; `slot`: in a slot of a local cluster."""
    round: int
    run_s: float
    comparisons: int
    false_alarms: int
    trials: int
    """Comparisons with a 5 % slowdown."""
    found: int
    spread: float
    """Deviation of a speedup between passes."""
    smallest_effect: float


def run_noise(rounds: int, passes: int, folder: Path) -> Iterator[NoiseRun]:
    """Yield alternating runs; the order changes every round."""
    for number in range(rounds):
        for way in sorted(_WAYS, reverse=bool(number % 2)):
            out = folder / f"{way}-{number}"
            arguments = ["noise", "--passes", str(passes), "--out", str(out), *_WAYS[way]]
            started = monotonic()
            subprocess.run(
                [sys.executable, "-m", "convsweep", *arguments],
                cwd=ROOT,
                check=True,
                capture_output=True,
            )
            run_s, noise = monotonic() - started, measure_noise(load(out))
            yield NoiseRun(
                way=way,
                round=number,
                run_s=round(run_s, 1),
                comparisons=noise.comparisons,
                false_alarms=noise.false_alarms,
                trials=noise.trials,
                found=noise.found,
                spread=noise.spread,
                smallest_effect=noise.smallest_effect,
            )


@click.command()
@click.option("--rounds", metavar="N", type=click.IntRange(1), default=2)
@click.option("--passes", metavar="N", type=click.IntRange(2), default=10)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/cluster"))
def main(rounds: int, passes: int, out: Path) -> None:
    """Measure both in turn."""
    with tempfile.TemporaryDirectory(prefix="cluster-") as name:
        write_rows(out / "noise.csv", NoiseRun, run_noise(rounds, passes, Path(name)))


if __name__ == "__main__":
    run_isolated("bench.cluster.noise")
    main()
