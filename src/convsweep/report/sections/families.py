"""The part of a report on own kernels and engines: how near the machine's limit, at what cost."""

from __future__ import annotations

from collections.abc import Iterable

from convsweep import formatting
from convsweep.analysis.families.candidates import BASIC, Candidates, read_candidates
from convsweep.analysis.families.comparison import compare_families
from convsweep.analysis.families.network_totals import compare_networks
from convsweep.analysis.run import Run
from convsweep.report.plots import MOST_SETTINGS, best_backend_map, speed_vs_error
from convsweep.report.plots.style import Picture
from convsweep.report.section import Section
from convsweep.report.sections.families_text import (
    engines,
    matches_table,
    networks_table,
    sentences,
)

TITLE = "At the machine's limit"
_CHOSEN = (
    "The fastest of several is chosen, in each pass, by the other passes, so that a lucky pass "
    "does not choose itself; one pass alone flatters it."
)
_FORMATS = (
    "Memory formats contend: an input in the format that suits a backend is taken as given. A "
    "network that mixes them would have to convert in between, which no layer's time counts."
)
_MEMORY = (
    "Peak memory is what one call needs at its peak beyond what is kept between calls: its answer "
    "and its workspace, not its packed weights. An engine that keeps freed memory for itself needs "
    "more than is seen."
)


def section(run: Run) -> Section | None:
    """Who wins by how much, at what loss of digits; None where every backend is the textbook's."""
    every = read_candidates(run)
    if not any((field.cases["backend_family"] != BASIC).any() for field in every):
        return None
    several = len(every) > 1
    comparisons = {field.name: (field, compare_families(field)) for field in every}
    networks = {field.name: (field, compare_networks(field)) for field in every}
    said = [
        (f"On {field.name}: " if several else "") + sentence
        for field in every
        for sentence in sentences(field, comparisons[field.name][1], networks[field.name][1])
    ]
    tables = [
        ("Against torch and the engines", matches_table(comparisons)),
        ("Whole networks, their layers added up", networks_table(networks)),
    ]
    pictures = [
        picture.of(field.name) if several else picture
        for field in every[:MOST_SETTINGS]
        for picture in _pictures(field)
    ]
    formats = run.cases["memory_format"].nunique() > 1
    return Section(
        title=TITLE,
        sentences=said or [_nobody(every)],
        tables=[(caption, table) for caption, table in tables if table.rows],
        pictures=pictures,
        notes=[
            *dict.fromkeys(filter(None, map(engines, every))),
            _CHOSEN,
            *([_FORMATS] if formats else []),
            _MEMORY,
        ],
    )


def _nobody(every: Iterable[Candidates]) -> str:
    """What there is, where nobody can be held against another."""
    names = sorted({str(name) for field in every for name in field.cases["backend"]})
    return f"No own kernel and no algorithm shares a layer with the baseline: {formatting.join(names)}."


def _pictures(field: Candidates) -> Iterable[Picture]:
    """Yield speed against error, and the fastest backend per layer."""
    drawn = (speed_vs_error.draw(field), best_backend_map.draw(field))
    return (picture for picture in drawn if picture is not None)
