"""Section on whole networks: end-to-end time against the sum of their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.network_breakdown import UNATTRIBUTED, NetworkBreakdown, network_breakdowns
from convsweep.analysis.network_totals import STANDARD_SUFFIX, ratio
from convsweep.analysis.run import Run
from convsweep.report.pages import Section
from convsweep.report.plots.networks import OTHERS, draw_breakdown
from convsweep.report.summary_text import first_sentence
from convsweep.report.table import Table

TITLE = "Whole networks against the sums of their layers"
_NOTES = (
    "Before each pass, every network is built in a process of its own and timed end to end and, in "
    "turns, with its parts timed. Timing the parts slows the network down; end-to-end times are "
    "without it.",
    "The overhead per timed call bounds the error of a part: a convolution counts as slower in the "
    "network only if the difference exceeds the overhead of all its calls.",
    "Times are means over the middle half of the forward passes, so that parts add up. "
    f"`{UNATTRIBUTED}` is mostly Python. The weights are seeded, not trained.",
)


def section(run: Run, networks: DataFrame) -> Section | None:
    """Return the breakdowns in networks.csv and `run`; None if no network was run end to end."""
    several = len(run.settings) > 1
    sentences: dict[str, list[str]] = {}
    found: dict[str, list[NetworkBreakdown]] = {}
    for setting in run.settings:
        found[setting], missing = network_breakdowns(run, networks, setting)
        sentences[setting] = _sentences(found[setting])
        sentences[setting] += [f"{network} {reason}." for network, reason in missing.items()]
    if not any(sentences.values()):
        return None
    tables = [("Whole networks and their parts", parts_table(found))]
    tables += [
        (f"Layers of {one.network}{f' on {setting}' if several else ''}, alone and in the network",
         layers_table(one))
        for setting, breakdowns in found.items() for one in breakdowns
    ]  # fmt: skip
    pictures = {name: [draw_breakdown(own)] for name, own in found.items()}
    note = _NOTES[0] if any(found.values()) else ""
    return Section.of_settings(TITLE, first_sentence(sentences), tables, pictures, note)


def _sentences(found: Sequence[NetworkBreakdown]) -> list[str]:
    lines = [
        f"{one.network}: {formatting.time(*one.end_to_end.time)} end to end; the sum of its "
        f"convolutions timed alone is {formatting.percent(*one.isolated_share)} of that. In the "
        f"network they take {formatting.speedup(*one.slowdown)} as long ({one.verdict})."
        for one in found
    ]
    by_name = {one.network: one for one in found}
    for name, one in by_name.items():
        if standard := by_name.get(name + STANDARD_SUFFIX):
            speedup = formatting.speedup(*ratio(standard.end_to_end, one.end_to_end))
            lines.append(f"{name}: {speedup} as fast as {standard.network}, end to end.")
    return lines


def parts_table(found: Mapping[str, Sequence[NetworkBreakdown]]) -> Table:
    """Return one row per setting and network."""
    numbers = (
        "end to end (95 %)", "layers alone (95 %)", "share of end to end (95 %)",
        "layers alone, cold caches (95 %)", "layers in the network (95 %)",
        "in the network / alone (95 %)", *OTHERS, UNATTRIBUTED, "overhead of timing parts",
        "overhead per call", "passes",
    )  # fmt: skip
    rows = [
        (
            setting,
            one.network,
            formatting.time(*one.end_to_end.time),
            formatting.time(*one.isolated.time),
            formatting.percent(*one.isolated_share),
            formatting.time(*one.cold.time) if one.cold else formatting.NO_VALUE,
            formatting.time(*one.in_network.time),
            formatting.speedup(*one.slowdown),
            *(
                formatting.seconds(one.others[kind].time.value) if kind in one.others else "none"
                for kind in OTHERS
            ),
            formatting.seconds(one.unattributed_s),
            formatting.percent(one.instrumentation_overhead),
            formatting.seconds(one.call_overhead_s),
            str(one.passes),
        )
        for setting, breakdowns in found.items()
        for one in breakdowns
    ]
    return Table.by_setting(("setting", "network", *numbers), rows, numbers)


def layers_table(one: NetworkBreakdown) -> Table:
    """Return one row per distinct convolution, the largest difference first."""
    numbers = ("times", "alone (95 %)", "in the network (95 %)", "timing overhead, at most",
               "in the network / alone (95 %)")  # fmt: skip
    rows = [
        (layer.layer, str(layer.count), formatting.time(*layer.isolated.time),
         formatting.time(*layer.in_network.time), formatting.seconds(layer.overhead_s),
         formatting.speedup(*layer.slowdown), layer.verdict)
        for layer in sorted(one.layers, key=lambda layer: -abs(layer.extra_s))
    ]  # fmt: skip
    return Table(("layer", *numbers, "verdict"), rows, frozenset(numbers))
