"""Section on an accuracy study: what separable layers cost in accuracy, and what they save."""

from collections.abc import Mapping

from convsweep import formatting
from convsweep.analysis.accuracy import FINDINGS, SAME_WITHIN, VARIANT_NAMES, Study, read_study
from convsweep.analysis.estimates import Interval
from convsweep.report.pages import Section
from convsweep.report.plots import accuracy_vs_time
from convsweep.report.table import Table
from convsweep.results.accuracy import ACCURACY_TABLE, EQUAL_COST, SEPARABLE
from convsweep.results.store import RunFolder

TITLE = "Accuracy of separable layers"
_NOTE = (
    f"`same`: the interval of the difference is within {100 * SAME_WITHIN:g} points; intervals are "
    "over seeds. docs/accuracy.md lists what does not carry over to large networks."
)


def is_accuracy_run(folder: RunFolder) -> bool:
    """Return whether the folder contains rows of trained networks."""
    return (folder.path / ACCURACY_TABLE.file_name).is_file()


def section(folder: RunFolder) -> Section | None:
    """Return the section on the study in `folder`; None if it has no rows.

    Raises:
        ValueError: the folder has no such run or a damaged one.
    """
    rows = ACCURACY_TABLE.load(folder.path)
    if rows.empty:
        return None
    study = read_study(rows)
    first, *missing = sentences(study)
    notes = [*_incomplete(folder.environment, len(rows)), *missing, *note_wide_intervals(study)]
    return Section.of_settings(
        TITLE,
        first,
        [
            ("Each network", quality_table(study)),
            ("Against the standard network", comparison_table(study)),
        ],
        {"": [accuracy_vs_time.draw(study)]},
        " ".join([*notes, *([_NOTE] if study.qualities else [])]),
    )


def sentences(study: Study) -> list[str]:
    """Return the number of data sets per verdict and variant, then what was not trained."""
    parts = []
    for variant in (SEPARABLE, EQUAL_COST):
        findings = [one.finding for one in study.comparisons if one.variant == variant]
        counts = [f"{findings.count(one)} {one}" for one in FINDINGS if one in findings]
        parts += [f"{VARIANT_NAMES[variant]} {', '.join(counts)}"] if counts else []
    sets = formatting.count(len(study.datasets), "data set")
    found = "; ".join(parts) or "no comparison"
    missing = study.rows[study.rows["status"] != "ok"].fillna({"reason": "no reason given"})
    return [
        f"Accuracy against standard layers on {sets}: {found}.",
        *(
            f"Not trained: {dataset}, {formatting.count(len(rows), 'network')}: {status}, {reason}."
            for (dataset, status, reason), rows in missing.groupby(
                ["dataset", "status", "reason"], sort=False
            )
        ),
    ]


def note_wide_intervals(study: Study) -> list[str]:
    """Return a note if some interval over seeds is too wide to be shown."""
    if formatting.TOO_FEW not in f"{quality_table(study)}{comparison_table(study)}":
        return []
    return [f"{formatting.TOO_FEW_NOTE} A pass is a seed here: choose more --seeds."]


def _incomplete(environment: Mapping[str, object], rows: int) -> list[str]:
    """Return a sentence if the study has fewer rows than requested or did not reach its end."""
    request = environment.get("request")
    request = request if isinstance(request, Mapping) else {}
    datasets, variants, seeds = (request.get(name) for name in ("datasets", "variants", "seeds"))
    requested = rows
    if isinstance(datasets, Mapping) and isinstance(variants, list) and type(seeds) is int:
        requested = len(datasets) * len(variants) * seeds
    if rows >= requested and environment.get("end_reason", "done") == "done":
        return []
    return [f"Incomplete study: {rows} of {max(rows, requested)} networks."]


def quality_table(study: Study) -> Table:
    """Return accuracy and costs, one row per data set and variant."""
    heads = ("data set", "network", "parameters", "MACs", "accuracy, % (95 %)",
             "training (95 %)", "one sample (95 %)", "a batch (95 %)", "seeds")  # fmt: skip
    rows = [
        (
            quality.dataset,
            VARIANT_NAMES[quality.variant],
            f"{quality.parameters:,}",
            f"{quality.macs:,}",
            _points(quality.accuracy),
            *(formatting.time(*time) for time in (quality.training, quality.single, quality.batch)),
            str(quality.seeds),
        )
        for quality in study.qualities
    ]
    return Table(heads, rows, frozenset(heads[2:]))


def comparison_table(study: Study) -> Table:
    """Return the differences to the standard network, one row per data set and variant."""
    heads = ("data set", "network", "accuracy less standard's, points (95 %)", "verdict",
             "times fewer MACs", "speedup, one sample (95 %)",
             "speedup, a batch (95 %)")  # fmt: skip
    rows = [
        (comparison.dataset, VARIANT_NAMES[comparison.variant],
         _points(comparison.difference, start=1), comparison.finding,
         formatting.digits(comparison.mac_ratio),
         *(formatting.speedup(*speedup) for speedup in (comparison.single, comparison.batch)))
        for comparison in study.comparisons
    ]  # fmt: skip
    return Table(heads, rows, frozenset((heads[2], *heads[4:])))


def _points(share: Interval, start: float = 0) -> str:
    """Return a share in percentage points, such as `-0.8 (-2.6 to 1.0)`."""
    return formatting.interval(*(100 * end for end in share), start=100 * start)
