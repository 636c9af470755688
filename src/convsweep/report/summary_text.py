"""Summary of a run: fixed sentences with its numbers."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping

from convsweep import formatting
from convsweep.analysis.best_backend import fastest
from convsweep.analysis.run import Run, backends_with_fewer_macs, mac_ratio, mean_speedup, unsteady
from convsweep.analysis.separable.comparison import Comparisons, SeparableComparison, thresholds
from convsweep.problems.separable import SEPARABLE
from convsweep.results.store import RunFolder

_ENOUGH_PASSES, _MOST_DOUBLED = 10, 100


def summary_sentences(run: Run, comparisons: Comparisons) -> list[str]:
    """Return the findings per setting, then open comparisons and missing times."""
    if (run.cases["status"] != "ok").all():
        return ["No case has a time."]
    parts = {name: run.without_fully_connected.within(name) for name in run.settings}
    findings = {setting: [*_fastest(part), *_speedups(part)] for setting, part in parts.items()}
    sentences = verdict_sentences(run, comparisons) + sentences_by_setting(findings)
    if run.baseline not in run.backends:
        sentences.append(f"The baseline {run.baseline} is not in this run: there are no speedups.")
    return [*sentences, *_open(run), *name_fully_connected(run)]


def name_fully_connected(run: Run) -> list[str]:
    """Return a sentence with the layers that are left out of means and figures, if there are."""
    if not (labels := run.fully_connected):
        return []
    return [
        f"Not in means and figures, nor replaced in networks: {formatting.join(labels)}. The "
        "kernel covers the whole input: a fully connected layer."
    ]


def note_wide_intervals(folder: RunFolder, *texts: object) -> list[str]:
    """Return a note with the command for more passes, if a text has an interval too wide."""
    if not any(formatting.TOO_FEW in str(text) for text in texts):
        return []
    return [f"{formatting.TOO_FEW_NOTE} {_command_for_more_passes(folder)}".rstrip()]


def _command_for_more_passes(folder: RunFolder) -> str:
    """Return the command that continues a run; empty if its own one is not known."""
    words = shlex.split(str(folder.environment.get("command") or ""))
    if words[:2] not in (["convsweep", "run"], ["convsweep", "advise"]):
        return ""
    kept, rest = [], iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name in ("--out", "--passes"):
            next(rest if not equals else iter(()), None)
        elif name != "--resume":
            kept.append(word)
    passes = folder.environment.get("request", {}).get("passes")
    if isinstance(passes, int) and passes <= _MOST_DOUBLED:  # more: a budget, which is spent anew
        kept += ["--passes", str(max(_ENOUGH_PASSES, 2 * passes))]
    return f"More passes: {shlex.join([*kept, '--out', str(folder.path), '--resume'])}"


def _fastest(run: Run) -> list[str]:
    if not len(best := fastest(run)):
        return []
    wins = best.loc[best["significant"].astype(bool), "backend"].value_counts()
    counts = [f"{name} in {count}" for name, count in wins.items()]
    problems = formatting.count(len(best), "problem")
    winners = ", ".join(counts) or "none"
    return [f"Fastest backend, significant in {wins.sum()} of {problems}: {winners}."]


def _speedups(run: Run) -> Iterable[str]:
    """Yield the speedups of backends beside those expected from their MACs."""
    for backend in backends_with_fewer_macs(run):
        cases = run.cases[(run.cases["backend"] == backend) & run.cases["speedup"].notna()]
        mean = mean_speedup(run, backend)
        expected = mac_ratio(run).loc[cases.index]
        yield (
            f"{backend} against {run.baseline}: speedup {formatting.speedup(*mean.interval)} "
            f"(geometric mean of {formatting.count(mean.problems, 'problem')}), "
            f"{formatting.times(cases['speedup'].min(), cases['speedup'].max())} by problem; "
            f"expected from the MAC count: {formatting.times(expected.min(), expected.max())}."
        )


def _open(run: Run) -> list[str]:
    """Return the counts of undecided, missing, failed and unsteady cases."""
    sentences = []
    compared = run.cases[run.cases["speedup"].notna() & (run.cases["backend"] != run.baseline)]
    if len(compared):
        single = compared["speedup_ci_low"].isna().all()
        undecided = (compared["verdict"] == "undecided").sum()
        sentences.append(
            f"Undecided speedups over {run.baseline}: {undecided} of "
            f"{len(compared)}{' (one pass gives no interval)' if single else ''}."
        )
    if run.missing_cases:
        sentences.append(
            f"Missing cases: {run.missing_cases} of {run.missing_cases + len(run.cases)}, of which "
            f"{run.other_shards_cases} belong to other shards. There are no network totals."
        )
    statuses = run.cases.loc[run.cases["status"] != "ok", "status"].value_counts()
    flags = unsteady(run.cases)
    for title, cases, counts in (
        ("Cases without a time", int(statuses.sum()), statuses),
        ("Unsteady cases", flags.index.nunique(), flags.value_counts()),
    ):
        if cases:
            kinds = ", ".join(f"{n} {str(kind).replace('_', ' ')}" for kind, n in counts.items())
            sentences.append(f"{title}: {cases} of {len(run.cases)} ({kinds}).")
    return sentences


def verdict_sentences(run: Run, comparisons: Comparisons) -> list[str]:
    """Return the verdict of each setting."""
    return sentences_by_setting(
        {setting: _verdict(found.headline, run.baseline) for setting, found in comparisons.items()}
    )


def sentences_by_setting(sentences: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the sentences of all settings, which they name if there are several settings."""
    return [
        f"On {setting}: {sentence}" if len(sentences) > 1 else sentence
        for setting, own in sentences.items()
        for sentence in own
    ]


def first_sentence(sentences: Mapping[str, Iterable[str]]) -> str:
    """Return the first sentence of the first setting that has one."""
    return next(iter(sentences_by_setting(sentences)), "")


def _verdict(found: SeparableComparison, baseline: str) -> Iterable[str]:
    if not found.replacements:
        return
    counts = Counter(r.verdict for r in found.replacements)
    others = [f"{counts[word]} {word}" for word in ("slower", "same", "undecided") if counts[word]]
    yield (
        f"{SEPARABLE} is faster than {baseline} in {counts['faster']} of "
        f"{formatting.count(len(found.replacements), 'problem')}"
        f"{f' ({formatting.join(others)})' if others else ''}: "
        f"geometric mean speedup {formatting.speedup(*found.speedup)}, "
        f"MAC ratio {formatting.digits(found.mac_ratio)}{_thresholds(found)}."
    )


def _thresholds(found: SeparableComparison) -> str:
    """Return `; always faster from 64 channels on at 28x28`; empty if channels do not vary."""
    sizes: dict[int, list[str]] = {}
    for each in thresholds(found.replacements):
        sizes.setdefault(each.channels or 0, []).append(each.size)
    never = formatting.join(sizes.pop(0, []))
    at = [f"from {n} channels on at {formatting.join(sizes[n])}" for n in sorted(sizes)]
    return (f"; always faster {', '.join(at)}" if at else "") + (
        f"; not always faster at {never}, even with the most channels" if never else ""
    )
