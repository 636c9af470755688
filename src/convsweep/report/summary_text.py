"""Summary of a run: its most important findings, in few short sentences."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from convsweep import formatting
from convsweep.analysis.best_backend import fastest
from convsweep.analysis.quantized import INT8_SUFFIX, mean_speedups, read_quantized
from convsweep.analysis.run import (
    Run,
    backends_with_fewer_macs,
    mac_ratio,
    mean_speedup,
    status_counts,
)
from convsweep.analysis.separable.comparison import Comparisons, SeparableComparison, Threshold
from convsweep.analysis.separable.directions import ByDirection, by_direction
from convsweep.analysis.settings import SettingSpeedup
from convsweep.problems.case import DIRECTIONS
from convsweep.problems.separable import SEPARABLE
from convsweep.report.best_backend import name_problems
from convsweep.results.schema import BATCH_SIZE

MOST_SENTENCES, MOST_WORDS = 8, 25  # Sentences of a summary, and words of each
_FAILED = ("mismatch", "crash", "error", "out_of_memory")
_MOST_SETTINGS = 2  # that have sentences of their own
_MOST_NAMES = 3
_MOST_VALUES = 3  # of a setting


def summary_sentences(
    run: Run,
    comparisons: Comparisons,
    of_settings: Sequence[SettingSpeedup],
    found: Sequence[str] = (),
    wrong: Sequence[str] = (),
    further: Sequence[str] = (),
) -> list[str]:
    """Return the answer, what is wrong with the run, and further findings.

    Args:
        run: the run.
        comparisons: of separable layers with the baseline, by setting.
        of_settings: settings against each other.
        found: findings on networks, the most important first.
        wrong: what is wrong besides failed and missing cases.
        further: findings of other sections.
    """
    if (run.cases["status"] != "ok").all():
        return [f"No case has a time: {status_counts(run.cases)}."]
    shown, directions = run.for_means, by_direction(run, comparisons)
    verdict = [] if directions else verdict_sentences(run, comparisons)
    sentences = [
        *([direction_sentence(run, directions)] if directions else []),
        *setting_sentences(of_settings),
        *verdict,
        *_single_pass(run),
        *_without_a_time(run, _FAILED),
        *_missing(run),
        *wrong,
        *found,
        *_fastest(shown),
        *quantized_sentence(run),
        *further,
        *_speedups(shown),
        *_without_a_time(run, ["timeout"]),
        *name_left_out(run),
    ]
    return sentences[:MOST_SENTENCES]


def setting_sentences(speedups: Sequence[SettingSpeedup]) -> list[str]:
    """Return one sentence per axis of settings: the baseline in its values, against the first.

    The other axes have their first values. Without the baseline it is another backend.
    """
    sentences = []
    for axis, group in groupby(speedups, key=lambda one: one.axis):
        [first, *_] = every = [*group]
        own = [one for one in every if (one.backend, one.others) == (first.backend, first.others)]
        if axis == BATCH_SIZE or len(own) > _MOST_VALUES:
            own = [max(own, key=lambda one: one.speedup.value)]
        problems = formatting.count(sum(first.verdicts.values()), "problem")
        where = "; ".join(filter(None, [f"{first.backend}, {problems}", first.others]))
        sentences.append(f"{_setting_finding(own)} ({where}).")
    return sentences


def _setting_finding(own: Sequence[SettingSpeedup]) -> str:
    best, first = own[0], own[0].first
    texts = {one.value: formatting.speedup(*one.speedup) for one in own}
    unknown = [value for value, text in texts.items() if formatting.TOO_FEW in text]
    lacking = f"{formatting.TOO_FEW} to compare {formatting.join(unknown)} with {first}"
    if len(unknown) == len(own):
        return f"There are {lacking}"
    if best.axis == BATCH_SIZE:
        most, ratio = best.value, f", {texts[best.value]} those of {first}"
        if best.speedup.value < 1:
            most, ratio = first, ""
        return f"{most.capitalize()} gives the most images per second{ratio}"
    verb = "are" if best.axis == "threads" else "is"
    parts = [f"{value} {verb} {text}" for value, text in texts.items() if value not in unknown]
    return f"{formatting.join(parts)} as fast as {first}{f'; {lacking}' if unknown else ''}"


def _as_fast(name: str, speedup: str, baseline: str) -> str:
    if formatting.TOO_FEW in speedup:
        return f"{name} has {formatting.TOO_FEW} to be compared with {baseline}"
    return f"{name} is {speedup} as fast as {baseline}"


def verdict_sentences(run: Run, comparisons: Comparisons) -> list[str]:
    """Return the verdict on separable layers, and from how many channels on they are faster."""
    found = {
        name: each.headline for name, each in comparisons.items() if each.headline.replacements
    }
    if len(found) <= _MOST_SETTINGS:
        most = MOST_WORDS - max((len(f"On {name}".split()) for name in found), default=0)
        named = {name: _verdict(each, run.baseline, most) for name, each in found.items()}
        return sentences_by_setting(named)
    speedups = [each.speedup.value for each in found.values()]
    return [
        f"Mean speedup of {SEPARABLE} over {run.baseline}: "
        f"{formatting.times(min(speedups), max(speedups))} in {len(found)} settings.",
        *_threshold_sentence([each for one in found.values() for each in one.thresholds], 0),
    ]


def direction_sentence(run: Run, found: ByDirection) -> str:
    """Return whether separable layers are faster in training, beside the forward pass."""
    means = {name: [own[name].speedup for own in found.values() if name in own]
             for name in DIRECTIONS}  # fmt: skip
    first, *_, last = [name for name, own in means.items() if own]
    texts = {
        name: formatting.speedup(*own[0])
        if len(found) == 1
        else formatting.times(min(one.value for one in own), max(one.value for one in own))
        for name, own in means.items()
        if own
    }
    verdicts = [r.verdict for own in found.values() if last in own for r in own[last].replacements]
    where = "the mean" if len(found) == 1 else f"{len(means[last])} settings"
    beside = "" if formatting.TOO_FEW in texts[first] else f"; {first} {texts[first]}"
    return (
        f"In {last} {_as_fast(SEPARABLE, texts[last], run.baseline)} in {where}, faster in "
        f"{verdicts.count('faster')} of {formatting.count(len(verdicts), 'case')}{beside}."
    )


def _verdict(found: SeparableComparison, baseline: str, most: int) -> Iterable[str]:
    wins = sum(each.verdict == "faster" for each in found.replacements)
    yield (
        f"{_as_fast(SEPARABLE, formatting.speedup(*found.speedup), baseline)} in the mean, "
        f"faster in {wins} of {formatting.count(len(found.replacements), 'problem')}; MAC ratio "
        f"{formatting.digits(found.mac_ratio)}."
    )
    yield from _threshold_sentence(found.thresholds, most)


def _threshold_sentence(found: Sequence[Threshold], most: int) -> Iterable[str]:
    """Yield from how many channels on separable layers are faster, per size in `most` words."""
    sizes: dict[int, list[str]] = {}
    for each in found:
        sizes.setdefault(each.channels or -each.is_open, []).append(each.size)
    never, unknown = sizes.pop(0, []), sizes.pop(-1, [])
    starts = sorted(sizes)
    if not starts:
        if never:
            where = f"{len(never)} of {len(found)} image sizes" if unknown else "any image size"
            yield f"{SEPARABLE} is not always faster at {where}, even with the most channels."
        return
    parts = [f"from {n} channels on at {formatting.join(sizes[n])}" for n in starts]
    text = f"{SEPARABLE} is always faster {', '.join(parts)}"
    text += f"; not at {formatting.join(never)}" if never else ""
    text += f"; undecided at {formatting.join(unknown)}." if unknown else "."
    if len(text.split()) > most:
        where = "image size" if most else "image size and setting"
        rest = f" at the best {where}, from {starts[-1]} at the worst" if len(starts) > 1 else ""
        exceptions = f", but never at {len(never)} of {len(found)}" if never else ""
        text = f"{SEPARABLE} is always faster from {starts[0]} channels on{rest}{exceptions}."
    yield text


def _without_a_time(run: Run, statuses: Sequence[str]) -> Iterable[str]:
    cases = run.cases[run.cases["status"].isin(statuses)]
    if len(cases):
        kinds = cases["status"].str.replace("_", " ") + " on " + cases["backend"]
        tried = formatting.count(int((run.cases["status"] != "skipped").sum()), "case")
        yield f"Without a time: {len(cases)} of {tried} ({_counts(kinds)})."


def _missing(run: Run) -> Iterable[str]:
    """Yield the cases that are not in the run."""
    if run.missing_cases:
        others, rest = run.other_shards_cases, ""
        if others:
            rest = ", all in other shards"
        if 0 < others < run.missing_cases:
            rest = f", {others} of them in other shards"
        rest += "; no network totals" * bool(run.cases["network"].notna().any())
        yield f"Missing: {run.missing_cases} of {run.missing_cases + len(run.cases)} cases{rest}."
    if run.baseline not in set(run.cases["backend"]):
        yield f"The baseline {run.baseline} is not in this run: there are no speedups."


def _counts(words: Iterable[str]) -> str:
    """Return `timeout on loop 24, crash on x 2, others 3`."""
    counts = Counter(words).most_common()
    parts = [f"{word} {number}" for word, number in counts[:_MOST_NAMES]]
    rest = sum(number for _, number in counts[_MOST_NAMES:])
    return ", ".join([*parts, *([f"others {rest}"] if rest else [])])


def quantized_sentence(run: Run) -> list[str]:
    """Return a sentence on error and mean speedups of int8 backends, if the run has one."""
    if not (cases := read_quantized(run)):
        return []
    ratios = [case.sqnr_db for case in cases]
    ends = " to ".join(dict.fromkeys(map(formatting.digits, (min(ratios), max(ratios)))))
    means = mean_speedups(run, cases)
    every = [
        f"{name} {formatting.speedup(*means[name])}"
        if name in means
        else f"{name} unknown without {name.removesuffix(INT8_SUFFIX)}"
        for name in dict.fromkeys(case.backend for case in cases)
    ]
    found = f"; speedups over float32: {formatting.join(every)}" if means else ""
    return [f"int8 is another function (SQNR {ends} dB){found}."]


def _fastest(run: Run) -> Iterable[str]:
    if len(best := fastest(run)):
        wins = best.loc[best["significant"], "backend"]
        others = len(best) - len(wins)
        parts = [_counts(wins), f"undecided {others}" if others else ""]
        yield (f"Fastest backend of {name_problems(best)}: {', '.join(filter(None, parts))}.")
    elif len(run.cases) == 1:
        case = run.cases.iloc[0]
        time = formatting.time(*(case[name] for name in ("time_s", "ci_low_s", "ci_high_s")))
        yield f"One case, {case['backend']}: {time} per call."


def _speedups(run: Run) -> Iterable[str]:
    """Yield the mean speedups of backends with fewer MACs, beside the ratio of MACs."""
    if len(run.settings) > 1:
        return
    for backend in backends_with_fewer_macs(run):
        mean = mean_speedup(run, backend)
        own = (run.cases["backend"] == backend) & run.cases["speedup"].notna()
        ratios = mac_ratio(run)[own]
        yield (
            f"{_as_fast(backend, formatting.speedup(*mean.interval), run.baseline)} in the mean "
            f"of {formatting.count(mean.problems, 'problem')}; MAC ratio "
            f"{formatting.times(ratios.min(), ratios.max())}."
        )


def _single_pass(run: Run) -> Iterable[str]:
    if run.cases["ci_low_s"].isna().all():
        yield "Each case has one pass, which gives no interval: no difference is decided."


def name_left_out(run: Run) -> list[str]:
    """Return a sentence per kind of layers that are left out of means and figures."""
    left_out, kept = [], {*run.for_means.cases["label"]}
    for kind, labels in {
        "Fully connected": run.fully_connected,
        "Transposed": run.transposed,
    }.items():
        if labels and kept.isdisjoint(labels):
            more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
            left_out.append(f"{kind}, so in no mean or figure: {labels[0]}{more}.")
    return left_out


def sentences_by_setting(sentences: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the sentences of all settings, which they name if there are several settings."""
    return [
        f"On {setting}: {sentence}" if len(sentences) > 1 else sentence
        for setting, own in sentences.items()
        for sentence in own
    ]
