"""Section on the machine's roofline and the share of it that each backend reaches."""

from typing import Any

from convsweep import formatting
from convsweep.analysis.roofline import RooflineEfficiency, roofline_efficiencies, roofs
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Comparisons
from convsweep.report.pages import Section
from convsweep.report.plots import MOST_SETTINGS, roofline
from convsweep.report.table import Table
from convsweep.results.schema import MACHINE_COLUMNS

_NOTE = (
    "The attainable rate is the lower of the best matrix product's, and that of a copy of as many "
    "bytes times the backend's FLOPs per byte."
)
_RATES = ("matrix product, GFLOP/s", "copy in the caches, GB/s", "copy from memory, GB/s")


def section(run: Run, comparisons: Comparisons) -> Section | None:
    """Return the section; None if no roofline was measured."""
    if not len(run.ceilings) or not roofs(run.ceilings):
        return None
    found = {
        setting: roofline_efficiencies(run.within(setting), comparison)
        for setting, comparison in comparisons.items()
    }
    means = [one.efficiency.value for own in found.values() for one in own]
    ends = dict.fromkeys(map(formatting.percent, (min(means), max(means)))) if means else ()
    return Section.of_settings(
        "Roofline",
        f"Mean share of the attainable rate, by backend: {' to '.join(ends)}." if ends else "",
        [
            ("Rates of this machine", _rates_table(run)),
            ("Share of the attainable rate", _efficiency_table(found)),
        ],
        {
            setting: [roofline.draw(run.within(setting), own)]
            for setting, own in [*found.items()][:MOST_SETTINGS]
        },
        _NOTE,
    )


def _rates_table(run: Run) -> Table:
    """Return the best rates of each device, dtype and number of threads."""
    rows: list[tuple[str, ...]] = []
    timed = run.ceilings[run.ceilings["time_s"].notna()]
    for _, probes in timed.groupby(list(MACHINE_COLUMNS), sort=False):
        products, copies = (probes[probes["backend"] == name] for name in ("matmul", "copy"))
        if len(products) and len(copies):
            fastest = products.sort_values("flops_per_s").iloc[-1]
            copies = copies.assign(rate=copies["min_bytes"] / copies["time_s"])
            in_caches, from_memory = (
                copies.sort_values(name).iloc[-1] for name in ("rate", "min_bytes")
            )
            rates = (
                _rate(fastest, 2 * fastest["backend_macs"]),
                *(_rate(copy, copy["min_bytes"]) for copy in (in_caches, from_memory)),
            )
            rows.append((*(str(fastest[name]) for name in _MACHINE), *rates))
    return Table((*_MACHINE, *_RATES), rows, frozenset(_RATES))


_MACHINE = ("device", "dtype", "threads")


def _rate(case: Any, work: float) -> str:
    """Return `94 (93-95)`: billions of FLOPs or bytes per second."""
    ends = (float(work) / case[name] / 1e9 for name in ("time_s", "ci_high_s", "ci_low_s"))
    return formatting.interval(*ends)


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
