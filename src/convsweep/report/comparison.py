"""Tables and sentences of `convsweep compare`."""

from __future__ import annotations

from pandas import DataFrame, Series

from convsweep import formatting
from convsweep.analysis.compare import VERDICTS, RunComparison
from convsweep.report.table import Table
from convsweep.report.tables import escape_markdown, markdown

LEGEND = (
    "A change above 1 means faster now. Brackets are 95 % intervals. Verdicts are corrected for "
    "the number of cases and are stricter."
)
_MAX_ROWS = 60
_MAX_NAMES = 3


def headline(found: RunComparison) -> str:
    """Return one line: regression or not, if that is known, and the number of cases per verdict."""
    counts = found.cases["verdict"].value_counts()
    parts = [f"{counts.get(name, 0)} {name}" for name in VERDICTS]
    parts += [f"{len(_broken(found))} failed that were ok", f"{found.missing.sum()} missing"]
    return f"{_result(found)}: {', '.join(parts)}; margin {found.margin * 100:g} %."


def _result(found: RunComparison) -> str:
    undecided = found.cases["verdict"].eq("undecided").sum()
    if found.cases["regression"].any():
        return "Regression"
    if not found.judged.any():
        return "Nothing was compared"
    if found.gaps or found.missing.any():
        return "Incomplete comparison, no regression in the cases that were compared"
    if undecided:
        return "All undecided" if undecided == found.judged.sum() else "Partly undecided"
    return "No regression"


def judged(found: RunComparison) -> DataFrame:
    """Return the cases that have a verdict or fail now."""
    return found.cases[found.judged | found.cases["regression"]]


def notes(found: RunComparison) -> list[str]:
    """Return what was compared, failed cases, cases without a verdict, differences of the runs."""
    lines = found.gaps + [
        f"{case['status_new']}, ok before: {case['backend']} on {case['label']}: "
        f"{case['reason'] or 'no reason given'}"
        for _, case in _broken(found).iterrows()
    ]
    lines.append(
        "Plain times are compared: they include the drift of the machine between the runs."
        if found.baseline is None
        else f"Speedups over {found.baseline} in the same pass are compared, which cancels most "
        f"drift of the machine. A change of {found.baseline} itself is not visible: --absolute."
    )
    old, new = found.cases["status_old"], found.cases["status_new"]
    timed = found.cases["old_s"].notna() & found.cases["new_s"].notna()
    groups: dict[str, Series[bool]] = {
        "Only in the old run": new.isna(),
        "Only in the new run": old.isna(),
        "Failed before, ok now": old.notna() & (old != "ok") & (new == "ok"),
        "Ok before, skipped now": (old == "ok") & (new == "skipped"),
        f"No time of {found.baseline} to compare with": timed & (found.cases["verdict"] == ""),
    }
    lines += [f"{title}: {_some(found, group)}." for title, group in groups.items() if group.any()]
    if any(formatting.TOO_FEW in _change(case) for _, case in found.cases.iterrows()):
        lines.append(formatting.TOO_FEW_NOTE)
    return lines + [f"Differs between the runs: {difference}." for difference in found.differences]


def _broken(found: RunComparison) -> DataFrame:
    """Return the cases that were ok and failed now."""
    return found.cases[found.cases["regression"] & (found.cases["verdict"] != "slower")]


def _some(found: RunComparison, group: Series[bool]) -> str:
    """Return `5 cases, such as im2col on C64 28x28`."""
    some = found.cases[group].head(_MAX_NAMES)
    names = (some["backend"] + " on " + some["label"]).to_list()
    return f"{formatting.count(int(group.sum()), 'case')}, such as {', '.join(names)}"


def _change(row: Series[str]) -> str:
    return formatting.speedup(*map(float, row[["change", "change_ci_low", "change_ci_high"]]))


def means_table(found: RunComparison) -> Table:
    """Return the geometric mean of the changes, one row per setting and backend."""
    rows: list[tuple[str, ...]] = []
    for _, mean in found.means.iterrows():
        plain = ", plain time" if mean["backend"] == found.baseline else ""
        rows.append((mean["setting"], mean["backend"] + plain, str(mean["cases"]), _change(mean)))
    heads = ("setting", "backend", "cases", "change in speed (95 %)")
    return Table.by_setting(heads, rows, heads[2:])


def cases_table(found: RunComparison, most: int) -> Table:
    """Return at most `most` cases of both runs, failed and slower ones first."""
    order = {name: place for place, name in enumerate(("", *VERDICTS))}
    shown = judged(found).sort_values("verdict", key=lambda names: names.map(order), kind="stable")
    plain = found.baseline is None
    column, write = ("s", formatting.seconds) if plain else ("speedup", formatting.digits)
    measure = "time" if plain else f"speedup over {found.baseline}"
    rows: list[tuple[str, ...]] = [
        (case["setting"], case["label"], case["backend"], write(case[f"old_{column}"]),
         write(case[f"new_{column}"]), _change(case),
         case["verdict"] or f"{case['status_new']}, ok before".replace("_", " "))
        for _, case in shown.head(most).iterrows()
    ]  # fmt: skip
    numbers = (f"old {measure}", f"new {measure}", "change in speed (95 %)")
    return Table.by_setting(("setting", "problem", "backend", *numbers, "verdict"), rows, numbers)


def page(found: RunComparison, most: int = 300) -> str:
    """Return the comparison in Markdown, for a pull request."""
    return "\n".join((
        f"**{escape_markdown(headline(found))}**\n",
        *(f"- {escape_markdown(note)}" for note in notes(found)),
        f"\n{markdown(means_table(found))}",
        f"<details>\n<summary>{formatting.count(len(judged(found)), 'case')}</summary>\n",
        f"{markdown(cases_table(found, most))}\n{_omitted(found, most)}\n",
        f"</details>\n\n{LEGEND}",
    ))  # fmt: skip


def _omitted(found: RunComparison, most: int) -> str:
    more = len(judged(found)) - most
    return f"and {more} more: `--format csv` has all of them" if more > 0 else ""


def sentences(found: RunComparison) -> list[str]:
    """Return the lines below the tables on a terminal, the headline last."""
    return [LEGEND, *filter(None, [_omitted(found, _MAX_ROWS)]), *notes(found), headline(found)]


def tables(found: RunComparison) -> list[Table]:
    """Return the tables for a terminal."""
    return [cases_table(found, _MAX_ROWS), means_table(found)]
