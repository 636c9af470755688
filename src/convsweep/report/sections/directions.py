"""Section on separable layers in several directions: is training faster, too?"""

from collections.abc import Mapping
from itertools import islice

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import SeparableComparison
from convsweep.analysis.separable.directions import ByDirection
from convsweep.problems.case import DIRECTIONS
from convsweep.report.pages import Section
from convsweep.report.plots import MOST_SETTINGS, crossover, directions
from convsweep.report.plots.style import pictures_by_setting
from convsweep.report.summary_text import direction_sentence
from convsweep.report.table import Table

TITLE = "Separable layers by direction"
MOST_TABLES, MOST_PROBLEMS = 8, 24
_NOTE = (
    "Training is forward and both gradients in one call. Each direction has its MAC ratio. "
    "Means are of the problems that every direction timed."
)


def section(run: Run, found: ByDirection) -> Section | None:
    """Return the section; None if no settings differ by direction alone."""
    if not found:
        return None
    head = f"over {run.baseline}"
    maps = {
        setting: [crossover.draw(run, {first: own[first], last: own[last]})]
        for setting, own in islice(found.items(), MOST_SETTINGS)
        for first, *_, last in [own]
    }
    tables = [
        (f"Mean speedup {head}", _means(found)),
        *((f"Speedup {head}{f': {name}' * (len(found) > 1)}", _speedups(own))
          for name, own in islice(found.items(), MOST_TABLES)),
        ("Channels from which on they are always faster", _thresholds(found)),
    ]  # fmt: skip
    return Section(
        TITLE,
        direction_sentence(run, found),
        [(caption, table) for caption, table in tables if table.rows],
        [*directions.draw(run, found), *pictures_by_setting(maps)],
        _NOTE,
    )


def _means(found: ByDirection) -> Table:
    """Return one row per setting with the mean speedup in each direction, if there are several."""
    rows = [
        (setting, *(formatting.speedup(*own[name].speedup) if name in own else ""
                    for name in DIRECTIONS))
        for setting, own in found.items()
    ]  # fmt: skip
    heads = ("setting", *DIRECTIONS)
    return Table(heads, rows if len(rows) > 1 else [], frozenset(DIRECTIONS)).filled


def _speedups(own: Mapping[str, SeparableComparison]) -> Table:
    """Return one row per problem, of those with the most MACs, and the means of all problems."""
    first = next(iter(own.values()))
    largest = sorted((r.problem.macs for r in first.replacements), reverse=True)[:MOST_PROBLEMS]
    rows = [
        (one.shape, formatting.digits(one.mac_ratio),
         *(formatting.speedup(*of.replacements[place].speedup) for of in own.values()))
        for place, one in enumerate(first.replacements)
        if one.problem.macs >= largest[-1]
    ]  # fmt: skip
    means = (formatting.speedup(*of.speedup) for of in own.values())
    rows.append(("mean", formatting.digits(first.mac_ratio), *means))
    numbers = ("MAC ratio", *own)
    return Table(("problem", *numbers), rows, frozenset(numbers))


def _thresholds(found: ByDirection) -> Table:
    """Return one row per setting and input size with several numbers of channels."""
    rows = []
    for setting, own in found.items():
        starts = {name: {each.size: each.text for each in of.thresholds}
                  for name, of in own.items()}  # fmt: skip
        sizes = dict.fromkeys(size for of in starts.values() for size in of)
        rows += [(setting, size, *(starts.get(name, {}).get(size, "") for name in DIRECTIONS))
                 for size in sizes]  # fmt: skip
    return Table.by_setting(("setting", "input size", *DIRECTIONS), rows, DIRECTIONS).filled
