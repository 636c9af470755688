"""Separable layers in several directions: forward, each gradient, and a training step."""

from collections.abc import Mapping

from convsweep.analysis.labels import label_cases, name_setting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Comparisons, SeparableComparison
from convsweep.problems.case import DIRECTIONS, FORWARD
from convsweep.results.schema import BATCH_SIZE

ByDirection = Mapping[str, Mapping[str, SeparableComparison]]
"""By setting and batch size, then by direction: the same problems in all directions."""


def by_direction(run: Run, comparisons: Comparisons) -> ByDirection:
    """Return the comparisons of settings that differ by direction alone; empty if none do.

    Problems without a time in one of these directions are left out.
    """
    named = run.cases.rename(columns={"setting": "own", "direction": "of"})
    settings = label_cases(named.assign(direction=FORWARD))[["setting", "own", "of"]]
    found: dict[str, dict[str, SeparableComparison]] = {}
    for setting, own, of in settings.drop_duplicates().itertuples(index=False):
        found.setdefault(setting, {})[of] = comparisons[own].headline
    parts: dict[str, dict[str, SeparableComparison]] = {}
    for setting, of in found.items():
        timed = [{r.label: r.problem.batch_size for r in each.replacements} for each in of.values()]
        common = {label: size for label, size in timed[0].items()
                  if len(of) > 1 and all(label in each for each in timed)}  # fmt: skip
        for size in sorted({*common.values()}):
            labels = [label for label, own_size in common.items() if own_size == size]
            name = f"{setting}, {name_setting(BATCH_SIZE, size)}"
            parts[name if len({*common.values()}) > 1 else setting] = {
                direction: of[direction].of(labels) for direction in DIRECTIONS if direction in of
            }
    return parts
