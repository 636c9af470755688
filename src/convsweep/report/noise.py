"""Sentences of `convsweep noise`."""

from convsweep import formatting
from convsweep.analysis.aa_noise import MOST_PASSES, Noise

_MOST = 6


def sentences(noise: Noise, environment_warnings: list[str]) -> list[str]:
    """Return false alarms, noise between passes and detectable effect, then the warnings."""
    alarms = formatting.count(noise.false_alarms, "false alarm")
    lines = [
        f"A/A test: {alarms} in {formatting.count(noise.comparisons, 'comparison')}; the false "
        f"alarm rate is below {formatting.percent(noise.alarm_rate_high)} (95 % confidence).",
        f"Speedups vary by {_percent(noise.spread)} between passes. The smallest difference that "
        f"{noise.passes} passes detect: {_percent(noise.smallest_effect)}.",
    ]
    needed = noise.passes_for_5_percent
    more = f"; it takes {'more than' if needed >= MOST_PASSES else 'about'} {needed} passes"
    if noise.trials:
        lines.append(
            f"Artificial 5 % slowdowns: {noise.found} of {noise.trials} detected"
            f"{more if needed > noise.passes else ''}."
        )
    return [*lines, *environment_warnings][:_MOST]


def _percent(share: float) -> str:
    is_known = not share >= formatting.WIDEST - 1
    return formatting.percent(share) if is_known else "more than 100 %"
