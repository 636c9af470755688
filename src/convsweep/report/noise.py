"""Sentences of `convsweep noise`."""

from __future__ import annotations

from convsweep import formatting
from convsweep.analysis.aa_noise import MOST_PASSES, Noise


def sentences(noise: Noise, environment_warnings: list[str]) -> list[str]:
    """Return false alarms, noise between passes and detectable effect, then the warnings."""
    lines = [
        f"A/A test: {noise.false_alarms} false alarms in "
        f"{formatting.count(noise.comparisons, 'comparison')}; the false alarm rate is below "
        f"{_percent(noise.alarm_rate_high)} (95 % confidence).",
        f"Speedups vary by {_percent(noise.spread)} between passes. Smallest detectable effect "
        f"with {noise.passes} passes: {_percent(noise.smallest_effect)}.",
    ]
    if noise.trials:
        lines.append(f"Artificial 5 % slowdowns: {noise.found} of {noise.trials} detected.")
    if noise.passes_for_5_percent > noise.passes:
        needed = noise.passes_for_5_percent
        at_least = "more than" if needed >= MOST_PASSES else "about"
        lines.append(f"Detecting 5 % takes {at_least} {needed} passes on this machine.")
    return [*lines, *environment_warnings]


def _percent(share: float) -> str:
    return formatting.percent(share) if not share >= formatting.WIDEST - 1 else formatting.TOO_FEW
