"""Section on the claims of the lecture: one row per claim, with its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convsweep import formatting
from convsweep.analysis.claims.claims import Claim, Pair
from convsweep.analysis.claims.evidence import HOLDS, VERDICTS, ClaimResult, evaluate
from convsweep.analysis.labels import unless_one
from convsweep.analysis.run import Run
from convsweep.formatting import NO_VALUE, compact
from convsweep.problems.problem import ConvProblem, format_size
from convsweep.report.pages import Section
from convsweep.report.plots import claims as plot
from convsweep.report.summary_text import first_sentence
from convsweep.report.table import Table

Results = Mapping[str, Sequence[ClaimResult]]
"""The results of each setting that has pairs."""

_NOTES = (
    "A claim is a ratio of two times of the same pass. Intervals are 95 % over passes; that of a "
    "claim is for the geometric mean over its pairs.",
    "A pair holds if measured / claimed is within the bounds of its row, does not hold if it is "
    "outside, and is undecided otherwise, corrected for the {pairs} of all claims (Benjamini & "
    "Hochberg 1995). A claim holds if all its pairs hold.",
    "These verdicts are about time. Results are checked before anything is timed: every backend "
    "against the same float64 reference.",
)


def section(run: Run) -> Section | None:
    """Return the section; None if the run has no pair of any claim."""
    results = {setting: evaluate(run.within(setting)) for setting in run.settings}
    results = {name: found for name, found in results.items() if any(each.pairs for each in found)}
    if not results:
        return None
    in_settings = {setting: results.get(setting, []) for setting in run.settings}
    return Section.of_settings(
        "The lecture, measured",
        first_sentence({name: [_verdict_counts(own)] for name, own in results.items()}),
        [
            ("Claims of the lecture, and what was measured", _claims_table(results, run.baseline)),
            ("Pairs of each claim", _pairs_table(results)),
        ],
        {name: [plot.draw(own, run.baseline)] for name, own in in_settings.items()},
        _NOTES[0],
    )


def _verdict_counts(results: Sequence[ClaimResult]) -> str:
    """Return `11 claims about cost: holds 3, holds in part 6, does not hold 2.`."""
    found = [each.verdict for each in results]
    counts = [f"{verdict} {found.count(verdict)}" for verdict in VERDICTS if verdict in found]
    return f"{formatting.count(len(results), 'claim')} about cost: {', '.join(counts)}."


def _claims_table(results: Results, baseline: str) -> Table:
    heads = ("setting", "claim", "in this code", "pairs", "claimed ratio", "measured ratio",
             "measured / claimed (95 %)", "holds if", "verdict", "pairs that hold")  # fmt: skip
    rows = [
        (setting, *_claim_row(each, baseline))
        for setting, found in results.items()
        for each in found
    ]
    return Table.by_setting(heads, rows, {*heads[3:7], heads[-1]})


def _claim_row(result: ClaimResult, baseline: str) -> tuple[str, ...]:
    claim, pairs = result.claim, result.pairs
    return (
        claim.statement,
        claim.code.format(baseline=baseline),
        str(len(pairs)),
        _range([each.pair.claimed for each in pairs], "below " * claim.below),
        _range([each.ratio.value for each in pairs]),
        formatting.speedup(*result.mean),
        _bounds(claim),
        result.verdict,
        str(sum(each.verdict == HOLDS for each in pairs)),
    )


def _range(values: Sequence[float], prefix: str = "") -> str:
    """Format the least and the largest value as `1.90 to 4.12`."""
    if not values:
        return NO_VALUE
    ends = dict.fromkeys((formatting.digits(min(values)), formatting.digits(max(values))))
    return prefix + " to ".join(ends)


def _bounds(claim: Claim) -> str:
    low, high = map(formatting.digits, claim.band)
    return f"below {high}" if claim.below else f"{low} to {high}"


def _pairs_table(results: Results) -> Table:
    heads = ("setting", "claim", "pair", "claimed ratio", "measured ratio (95 %)",
             "measured / claimed (95 %)", "verdict")  # fmt: skip
    rows: list[tuple[str, ...]] = [
        (setting, result.claim.statement, name, formatting.digits(each.pair.claimed),
         formatting.speedup(*each.ratio), formatting.speedup(*each.over_claimed), each.verdict)
        for setting, found in results.items()
        for result in found
        for name, each in zip(pair_labels(result), result.pairs, strict=True)
    ]  # fmt: skip
    return Table.by_setting(heads, rows, {*heads[3:6]})


def pair_labels(result: ClaimResult) -> list[str]:
    """Label each pair as `C64 28x28: k1 to k3`: shared parts that vary, then the change."""
    pairs = [each.pair for each in result.pairs]
    parts = [_parts(timing.problem) for pair in pairs for timing in (pair.first, pair.second)]
    varied = {part for part in parts[0] if len({each[part] for each in parts}) > 1} if parts else ()
    return [_label(pair, {"channels", "size", *varied}) for pair in pairs]


def _label(pair: Pair, shown: set[str]) -> str:
    first, second = _parts(pair.first.problem), _parts(pair.second.problem)
    changed = [part for part in first if first[part] != second[part] and part != "bias"]
    if "kernel" in changed and "padding" in changed:
        changed.remove("padding")  # it follows the kernel
    shared = [first[part] for part in first if first[part] == second[part] and part in shown]
    if _keeps_size(pair.first.problem) and first["padding"] in shared:
        shared.remove(first["padding"])
    if not changed:
        return " ".join(filter(None, shared))
    steps = (" ".join(filter(None, (side[part] for part in changed))) for side in (first, second))
    return ": ".join(filter(None, (" ".join(filter(None, shared)), " to ".join(steps))))


def _parts(problem: ConvProblem) -> dict[str, str]:
    """Return the parts of a problem as tokens; the usual ones are empty."""
    same = problem.in_channels == problem.out_channels
    groups = "dw" if problem.is_depthwise else f"g{problem.groups}"
    return {
        "batch": unless_one("N", str(problem.batch_size)),
        "channels": f"C{problem.in_channels}" + ("" if same else f"→{problem.out_channels}"),
        "size": format_size(problem.input_size),
        "kernel": f"k{compact(format_size(problem.kernel_size))}",
        "padding": f"p{compact(format_size(problem.padding))}",
        "stride": unless_one("s", format_size(problem.stride)),
        "dilation": unless_one("d", format_size(problem.dilation)),
        "groups": "" if problem.groups == 1 else groups,
        "bias": "bias" if problem.bias else "",
    }


def _keeps_size(problem: ConvProblem) -> bool:
    sides = zip(problem.padding, problem.dilation, problem.kernel_size, strict=True)
    return all(2 * p == d * (k - 1) for p, d, k in sides)
