"""Figures of a run, each with the finding as its title: DataFrame in, matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Iterator

from convsweep.analysis.run import Run, backends_with_fewer_macs, top_backends
from convsweep.problems.separable import SEPARABLE
from convsweep.report.plots import devices, heatmap, layers, predicted_speedup, sweeps
from convsweep.report.plots.backend_limit import note_omitted_backends
from convsweep.report.plots.style import Picture, drawing_style, png

__all__ = ["MOST_LINES", "MOST_SETTINGS", "Picture", "figures", "png"]

MOST_SETTINGS = 6
MOST_LINES, MOST_COLUMNS = 8, 12
"""Backends of one figure, as colours and as columns."""


def figures(run: Run) -> list[Picture]:
    """Return all figures that the data allow, in the order of the report.

    If there are several settings (device, dtype, memory format, threads), each of the first six
    has figures of its own: times of two settings never share a line.
    """
    with drawing_style():
        pictures = [
            picture.of(setting) if len(run.settings) > 1 else picture
            for setting in run.settings[:MOST_SETTINGS]
            for picture in _of_one_setting(run.within(setting))
        ]
        return [picture.with_title_drawn() for picture in pictures + devices.draw(run)]


def _of_one_setting(run: Run) -> Iterator[Picture]:
    lines, columns = top_backends(run, MOST_LINES), top_backends(run, MOST_COLUMNS)
    drawn = [
        (sweeps.draw(lines, sweeps.CHANNELS), lines),
        (sweeps.draw(lines, sweeps.SIZE), lines),
        (heatmap.draw(columns), columns),
    ]
    others = (backend for backend in backends_with_fewer_macs(run) if backend != SEPARABLE)
    drawn += [
        (predicted_speedup.draw(run, backend), run) for backend in others
    ]  # a study tells separable
    networks = run.cases["workload"].dropna().unique()
    drawn += [(layers.draw(lines, str(workload)), lines) for workload in networks]
    yield from (
        note_omitted_backends(picture, shown, run)
        for picture, shown in drawn
        if picture is not None
    )
