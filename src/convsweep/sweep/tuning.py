"""Number of blocks per pass of a run with a budget, chosen so that most of it is timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings

_TIMING_SHARE = 0.85  # of a pass; with the usual variances intervals are 15 % wider than with 0.6
_ENOUGH_PASSES, _LEAST_BLOCKS, _MOST_BLOCKS = 4, 2, 64
_FIRST_PASS_PHASES = ("reference_s", "trace_s")  # that take most of their time there


def plan_passes(done: int, fixed_s: float, block_s: float, left_s: float) -> tuple[int, int]:
    """Return how many passes fill the time left, and their blocks.

    `done` passes are measured. Another one takes `fixed_s` and `block_s` per block of all cases. In
    all there are at least four, or three if each would have a single block.
    """
    if done > 1 and left_s < fixed_s:
        return 0, 1
    least = max(1, _ENOUGH_PASSES - done)
    least -= least > 1 and left_s / least < fixed_s + _LEAST_BLOCKS * block_s
    passes = max(least, round(left_s * (1 - _TIMING_SHARE) / fixed_s)) if fixed_s else least
    return passes, min(_MOST_BLOCKS, max(1, int((left_s / passes - fixed_s) / block_s)))


def tuned(
    settings: Settings, done: int, last_s: Mapping[str, float], left_s: float
) -> tuple[int | None, Settings]:
    """Return how many passes fill the time left, and their settings; None if that is unknown.

    `last_s` are the seconds of the last pass per phase.
    """
    effort, timing_s = settings.effort, last_s.get("timing_s")
    if effort is None or not timing_s:
        return None, settings
    later = (s for name, s in last_s.items() if done > 1 or name not in _FIRST_PASS_PHASES)
    passes, blocks = plan_passes(done, sum(later) - timing_s, timing_s / effort.blocks, left_s)
    if not passes:
        return passes, settings
    case_s = min(settings.case_timeout_s / 2, effort.case_s * max(1.0, blocks / effort.blocks))
    return passes, replace(settings, effort=replace(effort, blocks=blocks, case_s=case_s))


def until_the_end(settings: Settings) -> MeasurementConfig | None:
    """Return the samples per case of the last batch: as many blocks as fit into the budget."""
    longest_s = settings.case_timeout_s / 2
    return settings.effort and replace(settings.effort, blocks=_MOST_BLOCKS, case_s=longest_s)
