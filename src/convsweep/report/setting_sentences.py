"""Sentences that compare the settings of a run."""

from __future__ import annotations

from itertools import groupby

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.settings import SettingSpeedup, setting_speedups

_MOST_VALUES = 3  # in one sentence


def setting_sentences(run: Run) -> list[str]:
    """Return one sentence per axis: its values against the first, of the baseline if it is there.

    The other axes have their first values.
    """
    sentences = []
    for axis, group in groupby(setting_speedups(run), key=lambda one: one.axis):
        first, *more = group
        own = [one for one in more if (one.backend, one.others) == (first.backend, first.others)]
        own = [first, *own]
        if axis == "batch_size" or len(own) > _MOST_VALUES:
            own = [max(own, key=lambda one: one.speedup.value)]
        where = f"{first.backend}, {formatting.count(first.problems, 'problem')}"
        where += f"; {first.others}" if first.others else ""
        sentences.append(f"{_finding(axis, own)} ({where}).")
    return sentences


def _finding(axis: str, own: list[SettingSpeedup]) -> str:
    best, first = own[0], own[0].first
    if axis == "batch_size":
        if best.speedup.value < 1:
            return f"{first} gives the most images per second".capitalize()
        ratio = formatting.speedup(*best.speedup)
        text = f"{best.value} gives the most images per second, {ratio} those of {first}"
        return text.capitalize()
    verb = "are" if axis == "threads" else "is"
    parts = [f"{one.value} {verb} {formatting.speedup(*one.speedup)}" for one in own]
    return f"{formatting.join(parts)} as fast as {first}"
