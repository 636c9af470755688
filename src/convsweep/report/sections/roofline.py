"""The machine's ceilings as a part of the report: what it can do at best, and who comes near."""

from __future__ import annotations

from typing import Any

from convsweep import formatting
from convsweep.analysis.estimates import Interval
from convsweep.analysis.roofline import roofs
from convsweep.analysis.roofline_efficiency import RooflineEfficiency, roofline_efficiencies
from convsweep.analysis.run import Run, top_backends
from convsweep.report.plots import MOST_LINES, MOST_SETTINGS, roofline
from convsweep.report.plots.backend_limit import note_omitted_backends
from convsweep.report.plots.style import Picture
from convsweep.report.section import Section
from convsweep.report.tables import Table, by_setting
from convsweep.results.schema import MACHINE_COLUMNS

_NOTES = (
    "Ceilings are cases like any other, first in the first pass and again in a few more: a matrix "
    "product's flop/s, and the bytes that a copy reads and writes in a second, by how many there "
    "are in all.",
    "What is attainable is the lower of two: the best matrix product's rate, and flops a byte "
    "times the rate of a copy of as many bytes, between the measured ones (Williams, Waterman & "
    "Patterson 2009, Roofline). A backend's flops and bytes are its own, not the definition's.",
    "Intervals of a share are those of the case's time; how far the ceilings themselves are known "
    "stands in their table.",
)


def section(run: Run) -> Section | None:
    """Ceilings as rows, and what every backend reaches of them; None where none was measured."""
    if not len(run.ceilings) or not roofs(run.ceilings):
        return None
    parts = {setting: run.within(setting) for setting in run.settings}
    found = {setting: roofline_efficiencies(part) for setting, part in parts.items()}
    tables = [("What the machine does at best", _ceilings_table(run))]
    if any(found.values()):
        tables.append(("What is reached of the attainable rate", _reached_table(found)))
    return Section(
        title="The machine's ceilings",
        sentences=_sentences(run),
        tables=tables,
        pictures=_pictures(parts),
        notes=_NOTES,
    )


def _sentences(run: Run) -> list[str]:
    """The best rates of each device, dtype and number of threads."""
    said = []
    timed = run.ceilings[run.ceilings["median_s"].notna()]
    for _, rows in timed.groupby(list(MACHINE_COLUMNS), sort=False):
        products, copies = rows[rows["backend"] == "matmul"], rows[rows["backend"] == "copy"]
        if products.empty or copies.empty:
            continue
        product = products.sort_values("flops_per_s").iloc[-1]
        copies = copies.assign(rate=copies["min_bytes"] / copies["median_s"])
        fastest, largest = (copies.sort_values(name).iloc[-1] for name in ("rate", "min_bytes"))
        device, dtype, threads = (product[name] for name in ("device", "dtype", "threads"))
        copy = f"a copy at {_rate(largest)}"
        if len(copies) > 1:
            copy = (
                f"a copy at {_rate(fastest)} where it fits a cache ({_moved(fastest)}) and at "
                f"{_rate(largest)} in memory ({_moved(largest)})"
            )
        said.append(
            f"{device}, {dtype}, {formatting.count(threads, 'thread')}: a matrix product runs at "
            f"{_rate(product)}, {copy}."
        )
    return said


def _rate(case: Any) -> str:
    """`94.1 [93.0, 95.2] GFLOP/s`, or GB/s of a copy."""
    product = case["backend"] == "matmul"
    work = 2 * case["backend_macs"] if product else case["min_bytes"]
    ends = (float(work) / case[name] / 1e9 for name in ("median_s", "ci_high_s", "ci_low_s"))
    return f"{formatting.interval(*Interval(*ends))} {'GFLOP/s' if product else 'GB/s'}"


def _moved(case: Any) -> str:
    return formatting.size_in_bytes(float(case["min_bytes"]))


def _ceilings_table(run: Run) -> Table:
    """One row a device, dtype, number of threads and ceiling."""
    rows: list[tuple[str, ...]] = []
    order = ["device", "dtype", "threads", "backend", "macs"]
    for _, case in run.ceilings.sort_values(order).iterrows():
        timed = case["status"] == "ok"
        rows.append((
            case["device"],
            case["dtype"],
            str(case["threads"]),
            case["layer"],
            formatting.seconds(case["median_s"]) if timed else str(case["status"]),
            _rate(case) if timed else formatting.NOT_MEASURED,
            str(case["passes"]),
        ))  # fmt: skip
    heads = ("device", "dtype", "threads", "ceiling", "time", "rate [95 %]", "passes")
    return Table(heads, rows, frozenset({"threads", "time", "rate [95 %]", "passes"}))


def _reached_table(found: dict[str, list[RooflineEfficiency]]) -> Table:
    """One row a setting and backend, then the halves of separable layers."""
    rows: list[tuple[str, ...]] = [
        (
            setting,
            attained.name,
            str(attained.problems),
            formatting.percent(*attained.efficiency),
            formatting.percent(attained.least),
            formatting.percent(attained.most),
            formatting.join([f"{bound} in {n}" for bound, n in attained.bounds.items()]),
        )
        for setting, all_ in found.items()
        for attained in all_
    ]
    numbers = ("problems", "reached, mean [95 %]", "least", "most")
    return by_setting(("setting", "backend", *numbers, "bound by"), rows, set(numbers))


def _pictures(parts: dict[str, Run]) -> list[Picture]:
    """A roofline for each setting."""
    drawn: list[Picture] = []
    for setting, part in [*parts.items()][:MOST_SETTINGS]:
        shown = top_backends(part, MOST_LINES)
        if picture := roofline.draw(shown):
            whole = note_omitted_backends(picture, shown, part)
            drawn.append(whole.of(setting) if len(parts) > 1 else whole)
    return drawn
