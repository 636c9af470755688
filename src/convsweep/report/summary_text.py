"""The answer first: what a run says, in plain sentences; only what its numbers carry."""

from __future__ import annotations

from convsweep import formatting
from convsweep.analysis.run import (
    Run,
    backends_with_fewer_macs,
    fastest,
    mac_ratio,
    mean_speedup,
    undecided,
    unsteady,
)
from convsweep.report.sections import separable_text


def answer(run: Run, comparisons: separable_text.Comparisons) -> list[str]:
    """A few sentences: whether separable pays, who is the fastest how often, what is open."""
    if (run.cases["status"] != "ok").all():
        return ["No case has a time, so nothing can be said about speed."]
    said = separable_text.sentences(run, comparisons)
    for setting in run.settings:
        part = run.within(setting)
        prefix = f"On {setting}: " if len(run.settings) > 1 else ""
        said += [prefix + sentence for sentence in _answer_of_setting(part)]
    return [*said, *_doubts(run)]


def _answer_of_setting(run: Run) -> list[str]:
    best = fastest(run)
    said = []
    if best.empty:
        said.append("No problem was timed with two backends, so none can be called the fastest.")
    else:
        wins = best.loc[best["significant"], "backend"].value_counts()
        counts = [f"{name} in {n}" for name, n in wins.items()]
        who = (
            f"the fastest backend is {formatting.join(counts)}"
            if counts
            else "no backend is clearly the fastest"
        )
        open_ = len(best) - int(best["significant"].sum())
        rest = f"; in {open_} no backend is clearly the fastest" if open_ and counts else ""
        problems = formatting.count(len(best), "problem")
        said.append(f"Of {problems} that two or more backends computed, {who}{rest}.")
    if run.baseline not in run.backends:
        said.append(f"The baseline {run.baseline} is not in this run, so there are no speedups.")
    return [*said, *(_against_baseline(run, backend) for backend in backends_with_fewer_macs(run))]


def _against_baseline(run: Run, backend: str) -> str:
    """How a backend that multiplies less does against the baseline, and what MACs promise."""
    cases = run.cases[(run.cases["backend"] == backend) & run.cases["speedup"].notna()]
    mean = mean_speedup(run, backend)
    counts = cases["verdict"].value_counts()
    verdicts = [f"{n} {name}" for name, n in counts.items()]
    promised = mac_ratio(run).loc[cases.index]
    by_speedup = cases.sort_values("speedup")
    ends = ["speedup", "speedup_ci_low", "speedup_ci_high"]
    low, high = (formatting.interval(*by_speedup[ends].iloc[i]) for i in (0, -1))
    first, last = (by_speedup["label"].iloc[i] for i in (0, -1))
    alone = " (One pass: no interval.)" if cases["speedup_ci_low"].isna().all() else ""
    promise = f"MACs alone promise {formatting.times(promised.min(), promised.max())}."
    against = f"{backend} against {run.baseline}: speedup"
    if len(cases) == 1:
        return f"{against} {low} at {first} ({verdicts[0].removeprefix('1 ')}); {promise}{alone}"
    return (
        f"{against} {formatting.interval(*mean.interval)} in the geometric mean of "
        f"{formatting.count(mean.problems, 'problem')} ({formatting.join(verdicts)}), "
        f"from {low} at {first} to {high} at {last}; {promise}{alone}"
    )


def _doubts(run: Run) -> list[str]:
    """How much is undecided, wrong or without a time."""
    said = _undecided(run)
    wrong = int((run.cases["status"] == "mismatch").sum())
    if wrong:
        verb = "has" if wrong == 1 else "have"
        said.append(
            f"{formatting.count(wrong, 'case')} did not match the reference and {verb} no time."
        )
    if run.missing_cases:
        said.append(f"{_absence(run)}, and no total is of a whole network.")
    absent = run.cases.loc[run.cases["status"] != "ok", "status"].value_counts()
    if len(absent):
        parts = [f"{n} {str(status).replace('_', ' ')}" for status, n in absent.items()]
        gone = _some(int(absent.sum()), len(run.cases), "cases", "has", "have")
        said.append(f"{gone} no time: {formatting.join(parts)}.")
    flags = unsteady(run.cases)
    if len(flags):
        parts = [f"{n} {flag}" for flag, n in flags.value_counts().items()]
        cases = flags.index.nunique()
        environment_warnings = _some(cases, len(run.cases), "cases", "was", "were")
        passes = f"at least half of {'its' if cases == 1 else 'their'} passes"
        said.append(f"{environment_warnings} unsteady in {passes}: {formatting.join(parts)}.")
    return said


def _absence(run: Run) -> str:
    """How many cases are not here, and why."""
    own = run.missing_cases - run.other_shards_cases
    if own:
        return f"The run is not whole: {own} of {own + len(run.cases)} cases were not reached"
    total = run.other_shards_cases + len(run.cases)
    return f"This is one shard: {run.other_shards_cases} of {total} cases are in others"


def _undecided(run: Run) -> list[str]:
    """How many comparisons with the baseline are open."""
    compared = run.cases[run.cases["speedup"].notna() & (run.cases["backend"] != run.baseline)]
    if compared.empty:
        return []
    doubt, over = int(undecided(compared).sum()), f"over {run.baseline}"
    why = ": one pass gives no interval" if compared["speedup_ci_low"].isna().all() else ""
    if len(compared) == 1:
        return [f"The speedup {over} is {f'undecided{why}' if doubt else 'decided'}."]
    if doubt:
        open_ = _some(doubt, len(compared), f"speedups {over}", "is", "are")
        return [f"{open_} undecided{why}."]
    return [f"All {len(compared)} speedups {over} are decided."]


def _some(number: int, total: int, nouns: str, singular: str, plural: str) -> str:
    """`1 of 55 cases was`, `2 of 55 cases were`."""
    return f"{number} of {total} {nouns} {singular if number == 1 else plural}"
