"""Sentences on standard layers and their separable replacements."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Explanation, SeparableComparison
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE

Comparisons = Mapping[str, SeparableComparison]
"""The comparison of each setting."""


def verdict_sentences(run: Run, comparisons: Comparisons) -> list[str]:
    """Return the verdict of each setting."""
    return [
        _prefix(setting, comparisons) + _verdict(found, run.baseline)
        for setting, found in comparisons.items()
        if found.replacements
    ]


def explanation_sentences(comparisons: Comparisons) -> list[str]:
    """Return the roofline and the shares of the time of each setting."""
    return [
        _prefix(setting, comparisons) + sentence
        for setting, found in comparisons.items()
        if found.explanation
        for sentence in _explanation(found.explanation)
    ]


def _prefix(setting: str, comparisons: Comparisons) -> str:
    return f"On {setting}: " if len(comparisons) > 1 else ""


def _verdict(found: SeparableComparison, baseline: str) -> str:
    counts = Counter(r.verdict for r in found.replacements)
    others = [f"{counts[word]} {word}" for word in ("slower", "same", "undecided") if counts[word]]
    return (
        f"{SEPARABLE} is faster than {baseline} in {counts['faster']} of "
        f"{formatting.count(len(found.replacements), 'problem')}"
        f"{f' ({formatting.join(others)})' if others else ''}: "
        f"geometric mean speedup {formatting.interval(*found.speedup)}, "
        f"MAC ratio {formatting.digits(found.mac_ratio)}."
    )


def _explanation(found: Explanation) -> list[str]:
    efficiency = [f"{name} {formatting.percent(*x)}" for name, x in found.efficiency.items()]
    shares = {name: formatting.percent(*share) for name, share in found.time_shares.items()}
    time = (
        f"Share of {SEPARABLE}'s time: depthwise part {shares[DEPTHWISE]} with "
        f"{100 * found.depthwise_macs:.0f} % of the MACs, pointwise part {shares[POINTWISE]}, "
        f"rest {shares['rest']}."
    )
    if math.isnan(found.roofline_speedup):
        return [time]
    roofline = (
        f"The roofline allows a speedup of {formatting.digits(found.roofline_speedup)}; share of "
        f"the attainable rate: {formatting.join(efficiency)} "
        f"(geometric means, {formatting.count(found.problems, 'problem')})."
    )
    if found.above_roofline:
        roofline += f" The measured roofline is no upper bound for the {found.above_roofline} part."
    return [roofline, time]
