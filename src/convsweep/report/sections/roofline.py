"""Section on the machine's roofline and the share of it that each backend reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.roofline import RooflineEfficiency, roofline_efficiencies, roofs
from convsweep.analysis.run import Run, top_backends
from convsweep.analysis.separable.comparison import Comparisons
from convsweep.problems.separable import SEPARABLE
from convsweep.report.pages import Section
from convsweep.report.plots import MOST_LINES, MOST_SETTINGS, note_omitted_backends, roofline
from convsweep.report.plots.style import Picture
from convsweep.report.summary_text import first_sentence
from convsweep.report.table import Table
from convsweep.results.schema import MACHINE_COLUMNS

_NOTES = (
    "Roofline probes are cases like any other, in the first pass and in a few more: the FLOP/s of "
    "a matrix product, and the bytes per second that copies of several sizes read and write.",
    "The attainable rate is the lower of two: the rate of the best matrix product, and FLOPs per "
    "byte times the rate of a copy of as many bytes, interpolated between the measured ones "
    "(Williams, Waterman & Patterson 2009, Roofline). FLOPs and bytes are those of the backend "
    "itself.",
    "Intervals of a share are those of the case's time. The uncertainty of the probes is in their "
    "own table.",
)


def section(run: Run, comparisons: Comparisons) -> Section | None:
    """Return the section; None if no roofline was measured."""
    if not len(run.ceilings) or not roofs(run.ceilings):
        return None
    found = {
        setting: roofline_efficiencies(run.within(setting), comparison)
        for setting, comparison in comparisons.items()
    }
    return Section.of_settings(
        "The machine's roofline",
        first_sentence({"": _sentences(run)}),
        [
            ("Roofline probes", _probes_table(run)),
            ("Share of the attainable rate", _efficiency_table(found)),
        ],
        _pictures(run, found),
        _NOTES[1],
    )


def _sentences(run: Run) -> list[str]:
    """Return the best rates of each device, dtype and number of threads."""
    lines = []
    timed = run.ceilings[run.ceilings["median_s"].notna()]
    for _, rows in timed.groupby(list(MACHINE_COLUMNS), sort=False):
        products, copies = rows[rows["backend"] == "matmul"], rows[rows["backend"] == "copy"]
        if products.empty or copies.empty:
            continue
        product = products.sort_values("flops_per_s").iloc[-1]
        copies = copies.assign(rate=copies["min_bytes"] / copies["median_s"])
        best = (copies.sort_values(name).iloc[-1] for name in ("rate", "min_bytes"))
        rates = dict.fromkeys(f"copy of {_size(case)} {_rate(case)}" for case in best)
        lines.append(
            f"{product['device']}, {product['dtype']}, "
            f"{formatting.count(product['threads'], 'thread')}: matrix product {_rate(product)}, "
            f"{', '.join(rates)}."
        )
    return lines


def _rate(case: Any) -> str:
    """`94.1 (93.0-95.2) GFLOP/s`, or GB/s of a copy."""
    product = case["backend"] == "matmul"
    work = 2 * case["backend_macs"] if product else case["min_bytes"]
    ends = (float(work) / case[name] / 1e9 for name in ("median_s", "ci_high_s", "ci_low_s"))
    return f"{formatting.interval(*Interval(*ends))} {'GFLOP/s' if product else 'GB/s'}"


def _size(case: Any) -> str:
    return formatting.size_in_bytes(float(case["min_bytes"]))


def _probes_table(run: Run) -> Table:
    """Return one row per device, dtype, number of threads and probe."""
    rows: list[tuple[str, ...]] = []
    order = ["device", "dtype", "threads", "backend", "macs"]
    for _, case in run.ceilings.sort_values(order).iterrows():
        timed = case["status"] == "ok"
        rows.append((
            case["device"], case["dtype"], str(case["threads"]), case["layer"],
            formatting.seconds(case["median_s"]) if timed else str(case["status"]),
            _rate(case) if timed else formatting.NO_VALUE, str(case["passes"]),
        ))  # fmt: skip
    heads = ("device", "dtype", "threads", "probe", "time", "rate (95 %)", "passes")
    return Table(heads, rows, frozenset({"threads", "time", "rate (95 %)", "passes"}))


def _efficiency_table(found: dict[str, list[RooflineEfficiency]]) -> Table:
    """Return one row per setting and backend, then the parts of separable layers."""
    rows: list[tuple[str, ...]] = [
        (setting, attained.name, str(attained.problems), formatting.percent(*attained.efficiency),
         formatting.percent(attained.least), formatting.percent(attained.most),
         formatting.join([f"{bound} in {n}" for bound, n in attained.bounds.items()]))
        for setting, efficiencies in found.items()
        for attained in efficiencies
    ]  # fmt: skip
    numbers = ("problems", "mean share (95 %)", "least", "most")
    return Table.by_setting(("setting", "backend", *numbers, "bound by"), rows, numbers)


def _pictures(
    run: Run, found: Mapping[str, list[RooflineEfficiency]]
) -> Mapping[str, Sequence[Picture | None]]:
    """Return one roofline per setting, with the fastest backends."""
    drawn = {}
    for setting, efficiencies in [*found.items()][:MOST_SETTINGS]:
        part = run.within(setting)
        shown = top_backends(part, MOST_LINES)
        has_separable = SEPARABLE in shown.backends
        own = [
            each
            for each in efficiencies
            if each.name in shown.backends or (each.name not in part.backends and has_separable)
        ]
        picture = roofline.draw(shown, own)
        drawn[setting] = [picture and note_omitted_backends(picture, shown, part)]
    return drawn
