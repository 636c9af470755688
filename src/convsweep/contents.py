"""The parts of a run's report, in the order of the page: those that its data carry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convsweep import roofline_section
from convsweep.accuracy import report as accuracy
from convsweep.accuracy.report import latest_beside
from convsweep.advice import words as advice
from convsweep.depthwise import section as depthwise
from convsweep.findings import Run
from convsweep.lecture import page as lecture
from convsweep.limit import section as limit
from convsweep.networks import reality_in_words, sums_in_words
from convsweep.networks.rows import load_networks
from convsweep.plots.style import drawing_style
from convsweep.sections import Section


def sections(run: Run, run_dir: Path) -> list[Section]:
    """What is told between the answer and the evidence, each figure with its title drawn.

    Args:
        run: what was measured.
        run_dir: its folder, for what lies beside the measurements.

    Raises:
        ValueError: in one line, where a file in the folder is damaged.
    """
    study = latest_beside(run_dir)
    with drawing_style():
        advised = advice.section(run_dir)
        told = (
            advised,
            depthwise.section(run),
            limit.section(run),
            None if advised else sums_in_words.section(run),  # advice adds layers up itself
            reality_in_words.section(run, load_networks(run_dir)),
            roofline_section.section(run),
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
