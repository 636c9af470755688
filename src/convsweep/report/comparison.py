"""Tables and sentences of `convsweep compare`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pandas import DataFrame, Series

from convsweep import formatting
from convsweep.analysis.compare import VERDICTS, RunComparison
from convsweep.analysis.verdicts import POWER
from convsweep.report.table import Table

_MAX_NAMES, _MAX_CHANGES = 3, 8


def headline(found: RunComparison, *, allow_missing: bool = False) -> str:
    """Return one line: regression or not, if that is known, and the number of cases per verdict."""
    counts = found.cases["verdict"].value_counts()
    numbers = {name: counts.get(name, 0) for name in VERDICTS}
    numbers |= {"failed that were ok": len(_broken(found)), "missing": found.missing.sum()}
    parts = [f"{n} {name}" for name, n in numbers.items() if n or name == "slower"]
    code = found.exit_code(allow_missing=allow_missing)
    reason = f" (exit code {code})" if code else ""
    return f"{_result(found)}{reason}: {', '.join(parts)}; margin {found.margin * 100:g} %."


def _result(found: RunComparison) -> str:
    judged, nothing = found.judged, not found.compared.any()
    undecided = found.cases["verdict"].eq("undecided").sum()
    reasons = {
        "Regression": found.cases["regression"].any(),
        "Nothing compared, no case has two passes in both runs": nothing and judged.any(),
        **{f"Nothing compared, no case of the {age} run is ok": nothing
           and not found.cases[f"status_{age}"].eq("ok").any() for age in ("old", "new")},
        "Nothing compared, the runs share no case with a time": nothing,
        f"Incomplete: {formatting.join(found.lacks)}": found.lacks,
        "All undecided": undecided == judged.sum(),
        "Partly undecided": undecided,
    }  # fmt: skip
    return next((text for text, applies in reasons.items() if applies), "No regression")


def _sensitivity(found: RunComparison) -> list[str]:
    """Return how large a slowdown these runs would show, in all and per backend."""
    cases = found.cases[found.compared]
    if cases.empty:
        return []
    by_backend = cases.groupby("backend")["detectable"].quantile(POWER).sort_values()
    parts = [f"{name} {_share(least)}" for name, least in by_backend.items()]
    if len(parts) > _MAX_NAMES:
        parts = [parts[0], parts[-1]]
    own = f" ({', '.join(parts)})" if len(parts) > 1 else ""
    least = _share(float(cases["detectable"].quantile(POWER)))
    return [f"A slowdown of {least} would be found in nine of ten cases{own}."]


def _share(value: float) -> str:
    return formatting.percent(value) if value < formatting.WIDEST - 1 else "over 100 %"


def notes(found: RunComparison) -> list[str]:
    """Return what was compared, failed cases, cases without a verdict, differences of the runs."""
    broken = _broken(found)
    lines = found.gaps + [
        f"{case['status_new']}, ok before: {case['backend']} on {case['label']}: "
        f"{case['reason'] or 'no reason given'}"
        for case in broken.head(_MAX_NAMES).to_dict("records")
    ]
    if (more := len(broken) - _MAX_NAMES) > 0:
        lines.append(f"{more} more failed that were ok.")
    lines += _sensitivity(found)
    lines.append(
        "Plain times are compared: they include the drift of the machine between the runs."
        if found.baseline is None
        else f"Speedups over {found.baseline} in the same pass are compared, which cancels most "
        f"drift of the machine. A change of {found.baseline} itself is not visible: --absolute."
    )
    old, new = found.cases["status_old"], found.cases["status_new"]
    timed = found.cases["old_s"].notna() & found.cases["new_s"].notna()
    groups: dict[str, Series[bool]] = {
        "Only in the old run": new.isna() & (old != "skipped"),
        "Only in the new run": old.isna() & (new != "skipped"),
        "Failed before, ok now": old.notna() & (old != "ok") & (new == "ok"),
        "Ok before, skipped now": (old == "ok") & (new == "skipped"),
        f"No time of {found.baseline} to compare with": timed & (found.cases["verdict"] == ""),
    }
    lines += [f"{title}: {_some(found, group)}." for title, group in groups.items() if group.any()]
    lines += _changed_implementations(found)
    if any(formatting.TOO_FEW in change(case) for case in found.cases.to_dict("records")):
        lines.append(formatting.TOO_FEW_NOTE)
    return lines + [f"Differs between the runs: {difference}." for difference in found.differences]


def _broken(found: RunComparison) -> DataFrame:
    """Return the cases that were ok and failed now."""
    return found.cases[found.cases["regression"] & (found.cases["verdict"] != "slower")]


def _changed_implementations(found: RunComparison) -> list[str]:
    """Return one sentence per change of implementation, the most frequent first."""
    keys = ["implementation_old", "implementation_new"]
    changes = found.reimplemented.value_counts(keys, sort=True)
    lines = []
    for old, new in changes.index[:_MAX_CHANGES]:
        own = found.cases[keys[0]].eq(old) & found.cases[keys[1]].eq(new)
        lines.append(f"Implementation changed from {old} to {new}: {_some(found, own)}.")
    if (more := len(changes) - _MAX_CHANGES) > 0:
        lines.append(f"Other changes of implementation: {more}; --format csv has all.")
    return lines


def _some(found: RunComparison, group: Series[bool]) -> str:
    """Return `5 cases, such as im2col on C64 28x28`."""
    some = found.cases[group].head(_MAX_NAMES)
    names = some["backend"] + " on " + some["label"]
    if found.cases["setting"].nunique() > 1:
        names += " (" + some["setting"] + ")"
    return f"{formatting.count(int(group.sum()), 'case')}, such as {', '.join(names)}"


def change(row: Mapping[Any, Any]) -> str:
    """Return the change of a case or mean with its interval."""
    ends = ("change", "change_ci_low", "change_ci_high")
    return formatting.speedup(*(float(row[end]) for end in ends))


def worst_first(found: RunComparison) -> DataFrame:
    """Return the cases that have a verdict or fail now, failed and slower ones first."""
    order = {name: place for place, name in enumerate(("", *VERDICTS))}
    shown = found.cases[found.judged | found.cases["regression"]]
    return shown.sort_values("verdict", key=lambda names: names.map(order), kind="stable")


def cases_table(found: RunComparison, most: int) -> Table:
    """Return at most `most` cases of both runs, failed and slower ones first."""
    column = "speedup" if found.baseline else "s"
    write = formatting.speedup if found.baseline else formatting.seconds
    rows: list[tuple[str, ...]] = [
        (case["setting"], formatting.shorten(case["label"]), case["backend"],
         write(case[f"old_{column}"]), write(case[f"new_{column}"]), change(case),
         case["verdict"] or f"{case['status_new']}, ok before".replace("_", " "))
        for case in worst_first(found).head(most).to_dict("records")
    ]  # fmt: skip
    numbers = ("old", "new", "change in speed")
    return Table.by_setting(("setting", "problem", "backend", *numbers, "verdict"), rows, numbers)
