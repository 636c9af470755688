"""Which backends a figure shows where there are more than one can tell apart."""

from __future__ import annotations

from dataclasses import replace

from convsweep.analysis.run import Run
from convsweep.report.plots.style import Picture


def note_omitted_backends(picture: Picture, shown: Run, run: Run) -> Picture:
    """The picture, whose caption says how many backends it leaves out."""
    left = len(run.backends) - len(shown.backends)
    if not left:
        return picture
    return replace(
        picture,
        caption=f"{picture.caption} Of {len(run.backends)} backends the {len(shown.backends)} "
        "that are the fastest most often are drawn, after that those that are the least behind; "
        "tables hold all.",
    )
