"""Section on whole networks: end-to-end time against the sum of their layers."""

from collections.abc import Mapping, Sequence

from convsweep import formatting
from convsweep.analysis.network_breakdown import (
    UNATTRIBUTED,
    UNDECIDED,
    Breakdowns,
    NetworkBreakdown,
)
from convsweep.analysis.network_totals import ratio
from convsweep.report.network_text import end_to_end_sentence
from convsweep.report.pages import Section
from convsweep.report.plots.networks import OTHERS, draw_breakdown
from convsweep.report.table import Table

TITLE = "Networks end to end"
_MOST_LAYERS = 8
_NOTE = "Times of a network's parts include the overhead of timing them; end-to-end times do not."


def section(whole: Mapping[str, Breakdowns]) -> Section | None:
    """Return the section on breakdowns by setting; None if no network was run end to end."""
    found = {setting: own for setting, (own, _) in whole.items()}
    reasons = [reason for _, own in whole.values() for reason in own.items()]
    missing = [f"{network} {reason}." for network, reason in reasons]
    every = [one for own in found.values() for one in own]
    if not (every or missing):
        return None
    tables = [
        ("Sums of layers alone against the network", sums_table(found)),
        ("Parts of one forward pass or training step", parts_table(found)),
        ("Layers that differ most between alone and in the network", layers_table(found)),
    ]
    pictures = {name: [draw_breakdown(own)] for name, own in found.items()}
    by_share = sorted(every, key=lambda one: one.isolated_share.value)
    sentences = [*_shares(by_share), *missing]
    return Section.of_settings(TITLE, sentences[0], tables, pictures, _NOTE if every else "")


def _shares(found: Sequence[NetworkBreakdown]) -> list[str]:
    """Return a sentence on networks by increasing share of their convolutions, if there are."""
    if len(found) < 2:
        return [*map(end_to_end_sentence, found)]
    blocks = sorted(ratio(one.blocks, one.end_to_end).value for one in found if one.blocks)
    also = f", with batch norm and activation to {_percents(blocks)}" if blocks else ""
    alone = _percents([one.isolated_share.value for one in found])
    return [
        f"Convolutions timed alone add up to {alone} of the time of {len(found)} networks end to "
        f"end{also}."
    ]


def _percents(shares: Sequence[float]) -> str:
    """Return the first and the last share, or the only one."""
    return " to ".join(dict.fromkeys(formatting.percent(shares[i]) for i in (0, -1)))


def sums_table(found: Mapping[str, Sequence[NetworkBreakdown]]) -> Table:
    """Return the sums of layers alone, one row per setting and network."""
    numbers = (
        "end to end (95 %)", "layers alone (95 %)", "share (95 %)", "layers alone, cold caches",
        "blocks alone (95 %)", "share of blocks (95 %)", "explained by blocks (95 %)",
    )  # fmt: skip
    rows = [
        (
            setting,
            one.network,
            formatting.time(*one.end_to_end.time),
            formatting.time(*one.isolated.time),
            formatting.percent(*one.isolated_share),
            formatting.seconds(one.cold.time.value) if one.cold else "",
            formatting.time(*one.blocks.time) if one.blocks else "",
            formatting.percent(*ratio(one.blocks, one.end_to_end)) if one.blocks else "",
            formatting.percent(*one.explained) if one.explained else "",
        )
        for setting, breakdowns in found.items()
        for one in breakdowns
    ]
    return Table.by_setting(("setting", "network", *numbers), rows, numbers).filled


def parts_table(found: Mapping[str, Sequence[NetworkBreakdown]]) -> Table:
    """Return the parts of networks, one row per setting and network."""
    numbers = ("layers in the network", *OTHERS, UNATTRIBUTED, "backward passes")
    rows = [
        (
            setting,
            one.network,
            formatting.seconds(one.in_network.time.value),
            *(
                formatting.seconds(one.others[kind].time.value) if kind in one.others else ""
                for kind in OTHERS
            ),
            formatting.seconds(one.unattributed_s),
            formatting.seconds(one.backward_s) if one.backward_s else "",
        )
        for setting, breakdowns in found.items()
        for one in breakdowns
    ]
    return Table.by_setting(("setting", "network", *numbers), rows, numbers).filled


def layers_table(found: Mapping[str, Sequence[NetworkBreakdown]]) -> Table:
    """Return the convolutions with the largest significant differences, of all networks."""
    numbers = ("calls", "alone", "in the network", "in the network / alone (95 %)")
    every = (
        (setting, one.network, layer)
        for setting, breakdowns in found.items()
        for one in breakdowns
        for layer in one.layers
        if layer.verdict != UNDECIDED
    )
    most = sorted(every, key=lambda item: -abs(item[2].extra_s))[:_MOST_LAYERS]
    rows = [
        (*where, layer.layer, str(layer.count), formatting.seconds(layer.isolated.time.value),
         formatting.seconds(layer.in_network.time.value), formatting.speedup(*layer.slowdown),
         layer.verdict)
        for *where, layer in most
    ]  # fmt: skip
    return Table.by_setting(("setting", "network", "layer", *numbers, "verdict"), rows, numbers)
