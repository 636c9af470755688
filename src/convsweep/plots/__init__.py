"""Figures of a run, each with the finding as its title: DataFrame in, matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from convsweep import labels
from convsweep.findings import Run, read_run
from convsweep.plots import sweeps
from convsweep.plots.style import Picture, png, style

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Picture", "figures", "png"]


def figures(measurements: DataFrame, summary: DataFrame) -> list[Picture]:
    run = read_run(measurements, summary)
    out = []
    with style():
        for setting in run.settings:
            for sweep in (sweeps.CHANNELS, sweeps.SIZE):
                p = sweeps.draw(run.within(setting), sweep)
                if p:
                    out.append(p)
    return out
