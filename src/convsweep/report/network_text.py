"""Sentences on whole networks."""

from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.network_breakdown import NetworkBreakdown, network_breakdowns
from convsweep.analysis.run import Run


def end_to_end_sentence(one: NetworkBreakdown) -> str:
    """Return the time of a network and the share of its convolutions."""
    return (
        f"{one.network} takes {formatting.time(*one.end_to_end.time)} end to end; its convolutions "
        f"timed alone add up to {formatting.percent(*one.isolated_share)} of that."
    )


def end_to_end(run: Run, networks: DataFrame) -> list[str]:
    """Return a sentence per network in the first setting, or why it has no time."""
    found, missing = network_breakdowns(run, networks, run.settings[0])
    return [
        *map(end_to_end_sentence, found),
        *(f"{network} {reason}." for network, reason in missing.items()),
    ]
