"""The parts of a run's report, in the order of the page: those that its data carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import SeparableComparison
from convsweep.report.plots.style import drawing_style
from convsweep.report.section import Section
from convsweep.report.sections import accuracy, advice, network_breakdown, network_totals, roofline
from convsweep.report.sections import claims as lecture
from convsweep.report.sections import families as limit
from convsweep.report.sections import separable as depthwise
from convsweep.report.sections.accuracy import latest_sibling
from convsweep.results.run_folder import RunFolder


def sections(
    run: Run, comparisons: Mapping[str, SeparableComparison], folder: RunFolder
) -> list[Section]:
    """What is told between the answer and the evidence, each figure with its title drawn.

    Args:
        run: what was measured.
        comparisons: separable against standard layers in each setting.
        folder: its folder, for the files beside the measurements.

    Raises:
        ValueError: in one line, where a file in the folder is damaged.
    """
    study = latest_sibling(folder.path)
    with drawing_style():
        advised = advice.section(folder.path)
        told = (
            advised,
            depthwise.section(run, comparisons),
            limit.section(run),
            None if advised else network_totals.section(run),  # advice adds layers up itself
            network_breakdown.section(run, folder.networks),
            roofline.section(run, comparisons),
            lecture.section(run),
            None if study is None else accuracy.section(study),
        )
        return titled([section for section in told if section is not None])


def titled(sections: Sequence[Section]) -> list[Section]:
    """The sections, each figure with its title drawn."""
    return [
        section._replace(pictures=[picture.with_title_drawn() for picture in section.pictures])
        for section in sections
    ]
