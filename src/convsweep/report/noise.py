"""Sentences of `convsweep noise`."""

from __future__ import annotations

import numpy as np

from convsweep import formatting
from convsweep.analysis.aa_noise import MOST_PASSES, Noise


def sentences(noise: Noise, environment_warnings: list[str]) -> list[str]:
    """What it means, in words, and what would help."""

    def percent(share: float) -> str:
        return "not measured" if np.isnan(share) else f"{share:.1%}"

    said = [
        f"Against themselves, backends were called faster or slower in {noise.false_alarms} of "
        f"{formatting.count(noise.comparisons, 'comparison')}: false alarms are below "
        f"{percent(noise.alarm_rate_high)} (95 % confidence).",
        f"From pass to pass a speedup moves by {percent(noise.spread)}; with "
        f"{noise.passes} passes this machine can tell an effect of "
        f"{percent(noise.smallest_effect)}.",
    ]
    if noise.trials:
        said.append(
            f"Of {formatting.count(noise.trials, 'backend')} made 5 % slower on purpose, "
            f"{noise.found} were found."
        )
    if noise.passes_for_5_percent >= MOST_PASSES:
        said.append(f"To tell 5 % it needs more than {MOST_PASSES} passes.")
    elif noise.passes_for_5_percent > noise.passes:
        said.append(f"To tell 5 % it needs about {noise.passes_for_5_percent} passes.")
    return [*said, *environment_warnings]
