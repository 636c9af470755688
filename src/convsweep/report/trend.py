"""Texts of `convsweep compare`: tables of two runs or more, and their page."""

from pathlib import Path

import pandas as pd
from pandas import DataFrame

from convsweep.analysis.compare import RunTrend
from convsweep.report import comparison
from convsweep.report.plots.style import drawing_style, png
from convsweep.report.plots.trend import draw
from convsweep.report.table import Table
from convsweep.report.tables import escape_markdown, markdown
from convsweep.results.files import complete_or_absent

WIDTH, _LINES = 100, 40  # of all tables on a terminal
_MAX_MEANS, _MAX_CASES = 12, 300
_MAX_RUNS, _PAGE_RUNS = 3, 8
_NOTE = (
    "Changes from the first run, with the number of cases that are slower than in the first run, "
    "and than in the one before."
)


def tables(trend: RunTrend) -> list[Table]:
    """Return the tables of cases and of means for a terminal."""
    means = _means_table(trend, _MAX_RUNS)
    means = means._replace(rows=means.rows[:_MAX_MEANS])
    return [comparison.cases_table(trend.to_first[-1], _cases_shown(trend)), means]


def _cases_shown(trend: RunTrend) -> int:
    return _LINES - 4 - min(_MAX_MEANS, len(trend.to_first[-1].means))


def sentences(trend: RunTrend, *, allow_missing: bool, most: int | None = None) -> list[str]:
    """Return the lines below the tables, the headline last."""
    last = trend.to_first[-1]
    more = len(comparison.worst_first(last)) - (most or _cases_shown(trend))
    lines = [f"{more} more cases: --format csv has all."] if more > 0 else []
    headline = comparison.headline(last, allow_missing=allow_missing)
    if len(trend.names) > 2:
        lines.append(_NOTE)
        headline = f"{trend.names[-1]} against {trend.names[0]}: {headline}"
    return [*lines, *comparison.notes(last), headline]


def page(trend: RunTrend, *, allow_missing: bool, picture: str = "") -> str:
    """Return the comparison in Markdown, for a pull request."""
    *notes, headline = sentences(trend, allow_missing=allow_missing, most=_MAX_CASES)
    table = comparison.cases_table(trend.to_first[-1], _MAX_CASES)
    return "\n".join((
        f"**{escape_markdown(headline)}**\n",
        *(f"- {escape_markdown(note)}" for note in notes),
        f"\n{markdown(_means_table(trend, _PAGE_RUNS))}{picture}",
        f"<details>\n<summary>Cases</summary>\n\n{markdown(table)}\n</details>",
    ))  # fmt: skip


def write(out: Path, trend: RunTrend, *, allow_missing: bool) -> None:
    """Write comparison.md, and trend.png of more than two runs."""
    with complete_or_absent(out) as folder, drawing_style():
        shown = ""
        if len(trend.names) > 2 and (picture := draw(trend)):
            (folder / "trend.png").write_bytes(png(picture.figure))
            shown = f"\n![{picture.alt}](trend.png)\n"
        text = page(trend, allow_missing=allow_missing, picture=shown)
        (folder / "comparison.md").write_text(f"{text}\n", encoding="utf-8")


def all_cases(trend: RunTrend) -> DataFrame:
    """Return the cases of all runs; of more than two with `run` and `verdict_before`."""
    parts = [
        one.cases.assign(run=name, verdict_before=before.cases["verdict"])
        for name, one, before in zip(
            trend.names[1:], trend.to_first, trend.to_previous, strict=True
        )
    ]
    return pd.concat(parts) if len(parts) > 1 else trend.to_first[0].cases


def _means_table(trend: RunTrend, runs: int) -> Table:
    """Return the mean changes per backend, one column per run for the latest of them."""
    keys, names = ["setting", "backend"], trend.names[1:][-runs:]
    rows: dict[tuple[str, str], list[str]] = {}
    for place in range(-len(names), 0):
        steps = (trend.to_first[place], trend.to_previous[place])[: len(trend.names) - 1]
        slower = [one.cases[one.cases["verdict"] == "slower"].value_counts(keys) for one in steps]
        for mean in steps[0].means.to_dict("records"):
            key = (mean["setting"], mean["backend"])
            counts = " " + "|".join(str(found.get(key, 0)) for found in slower)
            if len(slower) == 1:  # _NOTE explains several
                counts = f",{counts} slower"
            plain = ", plain time" if key[1] == steps[0].baseline else ""
            row = rows.setdefault(key, [key[0], key[1] + plain, *[""] * len(names)])
            row[place] = f"{comparison.change(mean)}{counts}"
    return Table.by_setting((*keys, *names), [*map(tuple, rows.values())], names)
