"""Section on standard layers and their separable replacements."""

from collections import Counter
from collections.abc import Mapping, Sequence

from convsweep import formatting
from convsweep.analysis.run import Run
from convsweep.analysis.separable.comparison import Comparisons, Replacement, SeparableComparison
from convsweep.analysis.separable.gap import CAUSES, PREDICTED, Gap, Variant, fastest_variants
from convsweep.problems.separable import DEPTHWISE, POINTWISE, SEPARABLE, SEPARABLE_PARTS
from convsweep.report.pages import Section
from convsweep.report.plots import (
    MOST_SETTINGS,
    crossover,
    note_settings,
    predicted_speedup,
    waterfall,
)
from convsweep.report.summary_text import MOST_WORDS, sentences_by_setting
from convsweep.report.table import Table

TITLE = "Separable layers"
Gaps = Mapping[str, Sequence[Gap]]  # by setting
Variants = Mapping[tuple[str, str], Variant]  # by setting and label
_NOTE = (
    "The MAC ratio, 1 / (1 / C_out + 1 / k²), is the speedup expected from the MAC count. Parts "
    "are timed alone, with their input in the caches."
)
_GAP_NOTE = (
    "The standard layer's overhead is its reorders and fixed cost, which follow from no MACs. A "
    "kernel's excess is its time beyond MACs and roofline; unattributed time is that of both parts "
    "together beyond each alone (docs/statistics.md). Parts within the noise may be negative; "
    "separable_gap.csv has intervals."
)
_MOST_PROBLEMS = 24


def section(
    run: Run, comparisons: Comparisons, gaps: Gaps, *, in_directions: bool = False
) -> Section | None:
    """Return the section; None if no replacement was timed.

    With several directions the section on them has thresholds and speedups.
    """
    replacements = [
        (setting, r) for setting, found in comparisons.items() for r in found.replacements
    ]
    if not replacements:
        return None
    timed = {name: found for name, found in comparisons.items() if found.replacements}
    faster = fastest_variants(run)
    known = [name for name, own in gaps.items() if own]
    only = f" ({known[0]})" if len(known) == 1 < len(gaps) else ""
    explained = {name: explanation(found) for name, found in comparisons.items()}
    return Section.of_settings(
        TITLE,
        gap_sentence(gaps, faster) or next(iter(sentences_by_setting(explained)), ""),
        [
            (
                "Channels from which on they are always faster",
                _threshold_table({} if in_directions else comparisons),
            ),
            (
                "Problems with the most MACs"
                if len(replacements) > _MOST_PROBLEMS
                else "Each problem",
                _problem_table(replacements),
            ),
            (f"Parts of {SEPARABLE}'s time{only}, most MACs first", _gap_table(gaps, faster)),
        ],
        {
            name: [
                predicted_speedup.draw(own, SEPARABLE) if not in_directions else None,
                crossover.draw(own, {"": found.headline}) if not in_directions else None,
                waterfall.draw(gaps.get(name, ())),
            ]
            for name, found in [*timed.items()][:MOST_SETTINGS]
            for own in [run.within(name)]
        },
        " ".join(
            [
                _NOTE,
                *[_GAP_NOTE][: len(known)],
                *_unclear_traces(comparisons, gaps),
                *note_settings(len(timed)),
            ]
        ),
    )


def _threshold_table(comparisons: Comparisons) -> Table:
    """Return one row per setting and input size with several numbers of channels."""
    numbers = ("measured channels", "always faster from", "problems", "faster")
    rows: list[tuple[str, ...]] = [
        (setting, each.size, ", ".join(map(str, each.measured)), each.text,
         str(each.problems), str(each.faster))
        for setting, found in comparisons.items()
        for each in found.thresholds
    ]  # fmt: skip
    return Table.by_setting(("setting", "input size", *numbers), rows, numbers[1:])


def _problem_table(replacements: list[tuple[str, Replacement]]) -> Table:
    """Return one row per problem, of those with the most MACs: speedup, and what limits it."""
    numbers = ("MAC ratio", "roofline allows", "measured speedup",
               f"{DEPTHWISE} part, of the time", f"{POINTWISE} part, of the time")  # fmt: skip
    largest = sorted(replacements, key=lambda one: -one[1].problem.macs)[:_MOST_PROBLEMS]
    rows: list[tuple[str, ...]] = [
        (setting, r.label, formatting.digits(r.mac_ratio), formatting.speedup(r.roofline_speedup),
         formatting.speedup(*r.speedup),
         *(formatting.percent(r.shares[name].value) for name in SEPARABLE_PARTS), r.verdict)
        for setting, r in replacements
        if (setting, r) in largest
    ]  # fmt: skip
    return Table.by_setting(("setting", "problem", *numbers, "verdict"), rows, numbers)


def _gap_table(gaps: Gaps, faster: Variants) -> Table:
    """Return one row per problem, the most MACs first: shares of the layer's time."""
    numbers = ("measured speedup", PREDICTED, *CAUSES)
    every = [(setting, gap) for setting, own in gaps.items() for gap in own]
    every.sort(key=lambda one: -one[1].replacement.problem.macs)
    rows: list[tuple[str, ...]] = [
        (setting, gap.replacement.label, formatting.speedup(gap.replacement.speedup.value),
         *(formatting.whole_percent(share.value)
           for share in (gap.predicted, *gap.causes.values())),
         f"{variant.name} {formatting.speedup(*variant.speedup)}" if variant else "")
        for setting, gap in every[:_MOST_PROBLEMS]
        for variant in [faster.get((setting, gap.replacement.label))]
    ]  # fmt: skip
    return Table.by_setting(("setting", "problem", *numbers, "faster variant"), rows, numbers)


def _unclear_traces(comparisons: Comparisons, gaps: Gaps) -> list[str]:
    """Return a sentence on the problems that only their trace leaves out of the gaps."""
    texts = [
        f"{left} of {formatting.count(len(traced), 'problem')} ({setting})"
        for setting, found in comparisons.items()
        for traced in [[r for r in found.headline.timed
                        if r.roofline_speedup > 0 and r.standard.kernel_s > 0]]
        if (left := len(traced) - len(gaps.get(setting, ()))) > 0
    ]  # fmt: skip
    return [f"No clear trace: {', '.join(texts)}."] if texts else []


def gap_sentence(gaps: Gaps, faster: Variants) -> str:
    """Return the largest cause in the first setting that has one, and the variant that helps."""
    for setting, own in gaps.items():
        slower = [gap for gap in own if gap.predicted.value < 1]
        for cause, layers in Counter(gap.largest for gap in slower).most_common(1):
            where = f"On {setting}: of" if len(gaps) > 1 else "Of"
            lose = "loses" if layers == 1 else "lose"
            text = (
                f"{where} {formatting.count(len(slower), 'clearly traced problem')} slower than "
                f"predicted, {layers} {lose} most to {'the ' * cause.endswith('excess')}{cause}"
            )
            keys = [(setting, gap.replacement.label) for gap in slower]
            helps = Counter(faster[key].name for key in keys if key in faster)
            longer = [f"{text}; {name} helps in {n}" for name, n in helps.most_common(1)]
            return f"{next((t for t in longer if len(t.split()) <= MOST_WORDS), text)}."
    return ""


def explanation(comparison: SeparableComparison) -> list[str]:
    """Return where the time goes if the parts were timed; else the share of the MAC ratio."""
    if (found := comparison.headline).timed:
        shares = [f"the {name} part takes {formatting.percent(found.mean_share(name))}"
                  for name in SEPARABLE_PARTS]  # fmt: skip
        return [f"Of {SEPARABLE}'s time, {formatting.join(shares)}."]
    realized = sorted(each.realized.value for each in comparison.replacements)
    ends = dict.fromkeys(map(formatting.percent, (*realized[:1], *realized[-1:])))
    return [f"Measured speedups are {' to '.join(ends)} of the MAC ratio."] if ends else []
