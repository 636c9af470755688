"""What a comparison of two runs says: a headline, sentences, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convsweep import formatting
from convsweep.analysis.compare import RunComparison
from convsweep.report.tables import Table, by_setting, escape_markdown, markdown

if TYPE_CHECKING:
    from pandas import DataFrame, Series

VERDICTS = ("slower", "faster", "undecided", "same")
_MOST_ROWS = 60


def headline(found: RunComparison) -> str:
    """The whole in a line."""
    counts = found.cases["verdict"].value_counts()
    compared = int(sum(counts.get(name, 0) for name in VERDICTS))
    parts = [f"{counts[name]} {name}" for name in VERDICTS if name in counts]
    broken = len(_broken(found))
    lost = f"; {formatting.count(broken, 'case')} ok before and not now" if broken else ""
    word = "Regression" if found.cases["regression"].any() else "No regression"
    of = (
        f"of {formatting.count(compared, 'case')} {formatting.join(parts)}"
        if compared
        else "no speeds"
    )
    return f"{word}: {of}, at a margin of {found.margin * 100:g} %{lost}."


def judged(found: RunComparison) -> DataFrame:
    """The cases that have a verdict or have broken."""
    return found.cases[found.cases["verdict"].isin(VERDICTS) | found.cases["regression"]]


def _broken(found: RunComparison) -> DataFrame:
    """The cases that were ok and failed now."""
    return found.cases[found.cases["regression"] & (found.cases["verdict"] != "slower")]


def notes(found: RunComparison) -> list[str]:
    """What has to be known besides, each in a sentence."""
    said = [
        f"{case['status_new']}, ok before: {_name(case)}: {case['reason'] or 'no reason given'}"
        for _, case in _broken(found).iterrows()
    ]
    said.append(_measure(found))
    counts = {
        "in the old run only": found.cases["status_new"].isna(),
        "in the new run only": found.cases["status_old"].isna(),
        "ok now and not before": _turned(found, "old", "new"),
        "skipped now and ok before": (found.cases["status_old"] == "ok")
        & (found.cases["status_new"] == "skipped"),
        f"without a time of {found.baseline} beside theirs": _without_baseline(found),
    }
    said += [f"{formatting.count(int(which.sum()), 'case')} {what}: {_some(found, which)}."
             for what, which in counts.items() if which.any()]  # fmt: skip
    return said + [f"Not the same in both runs: {what}." for what in found.differences]


def _turned(found: RunComparison, bad: str, good: str) -> Series[bool]:
    was = found.cases[f"status_{bad}"]
    return was.notna() & (was != "ok") & (found.cases[f"status_{good}"] == "ok")


def _without_baseline(found: RunComparison) -> Series[bool]:
    timed = found.cases["old_s"].notna() & found.cases["new_s"].notna()
    return timed & (found.cases["verdict"] == "")


def _name(case: Series[str]) -> str:
    return f"{case['backend']} on {case['label']}"


def _some(found: RunComparison, which: Series[bool], most: int = 3) -> str:
    names = [_name(case) for _, case in found.cases[which].head(most).iterrows()]
    more = int(which.sum()) - len(names)
    return formatting.join([*names, f"{more} more"] if more else names)


def _measure(found: RunComparison) -> str:
    """What is compared, and what that can't see."""
    if found.baseline is None:
        return (
            "Plain times are compared: a machine drifts from run to run, by more than these "
            "intervals know."
        )
    return (
        f"Each time is compared relative to {found.baseline} in the same pass, which takes most of "
        f"the machine's drift out of it. A change of {found.baseline} itself can't be told from "
        "drift; --absolute compares plain times."
    )


def means_table(found: RunComparison) -> Table:
    """The geometric mean of the changes, a row a setting and backend."""
    rows: list[tuple[str, ...]] = [
        (
            mean["setting"],
            f"{mean['backend']}, plain time"
            if mean["backend"] == found.baseline
            else mean["backend"],
            str(mean["cases"]),
            formatting.interval(mean["change"], mean["change_ci_low"], mean["change_ci_high"]),
        )
        for _, mean in found.means.iterrows()
    ]
    change = "change in speed [95 %]"
    return by_setting(("setting", "backend", "cases", change), rows, {"cases", change})


def cases_table(found: RunComparison, most: int) -> Table:
    """The cases of both runs, those that matter most first; at most so many."""
    order = {name: place for place, name in enumerate(("", *VERDICTS))}
    shown = judged(found).sort_values("verdict", key=lambda said: said.map(order), kind="stable")
    what, write = (
        ("s", formatting.seconds) if found.baseline is None else ("speedup", formatting.digits)
    )
    measure = "time" if found.baseline is None else f"speedup over {found.baseline}"
    rows: list[tuple[str, ...]] = [
        (
            case["setting"],
            case["label"],
            case["backend"],
            write(case[f"old_{what}"]),
            write(case[f"new_{what}"]),
            formatting.interval(case["change"], case["change_ci_low"], case["change_ci_high"]),
            case["verdict"] or f"{case['status_new']}, ok before".replace("_", " "),
        )
        for _, case in shown.head(most).iterrows()
    ]
    numbers = (f"old {measure}", f"new {measure}", "change in speed [95 %]")
    heads = ("setting", "problem", "backend", *numbers, "verdict")
    return by_setting(heads, rows, set(numbers))


LEGEND = (
    "A change above 1 is faster now. Brackets hold plain 95 % intervals; verdicts are corrected "
    "for the number of cases, and so stricter."
)


def page(found: RunComparison, most: int = 300) -> str:
    """The comparison in Markdown, for a pull request."""
    return "\n".join((
        f"**{escape_markdown(headline(found))}**\n",
        *(f"- {escape_markdown(note)}" for note in notes(found)),
        f"\n{markdown(means_table(found))}",
        f"<details>\n<summary>{formatting.count(len(judged(found)), 'case')}</summary>\n",
        f"{markdown(cases_table(found, most))}{_left_out(found, most)}",
        f"</details>\n\n{LEGEND}",
    ))  # fmt: skip


def _left_out(found: RunComparison, most: int) -> str:
    more = len(judged(found)) - most
    return f"\nand {more} more: `--format csv` has them all\n" if more > 0 else ""


def sentences(found: RunComparison) -> list[str]:
    """What a terminal says below the tables, the headline last."""
    return [LEGEND, _left_out(found, _MOST_ROWS).strip(), *notes(found), headline(found)]


def tables(found: RunComparison) -> list[Table]:
    """Return the tables that a terminal shows: cases, and mean changes."""
    return [cases_table(found, _MOST_ROWS), means_table(found)]
