"""Sentences of `convsweep noise`."""

from __future__ import annotations

from convsweep import formatting
from convsweep.analysis.aa_noise import MOST_PASSES, Noise


def sentences(noise: Noise, environment_warnings: list[str]) -> list[str]:
    """Return false alarms, noise between passes and detectable effect, then the warnings."""
    alarms = formatting.count(noise.false_alarms, "false alarm")
    lines = [
        f"A/A test: {alarms} in {formatting.count(noise.comparisons, 'comparison')}; the false "
        f"alarm rate is below {formatting.percent(noise.alarm_rate_high)} (95 % confidence).",
        f"Speedups vary by {_percent(noise.spread)} between passes; {noise.passes} passes detect "
        f"differences from {_percent(noise.smallest_effect)} on.",
    ]
    if noise.trials:
        lines.append(f"Artificial 5 % slowdowns: {noise.found} of {noise.trials} detected.")
    if noise.passes_for_5_percent > noise.passes:
        needed = noise.passes_for_5_percent
        at_least = "more than" if needed >= MOST_PASSES else "about"
        lines.append(f"Detecting 5 % takes {at_least} {needed} passes on this machine.")
    return [*lines, *environment_warnings]


def _percent(share: float) -> str:
    is_known = not share >= formatting.WIDEST - 1
    return formatting.percent(share) if is_known else "more than 100 %"
