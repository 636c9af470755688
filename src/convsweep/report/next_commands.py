"""Commands that measure what a run lacks: more passes, other settings."""

import shlex

from convsweep import formatting
from convsweep.results.schema import ROOFLINE, SEPARABLE_PART
from convsweep.results.store import RunFolder

_ENOUGH_PASSES, _MOST_DOUBLED = 10, 100


def note_wide_intervals(folder: RunFolder, *texts: object) -> list[str]:
    """Return a note with the command for more passes, if a text has an interval too wide."""
    if not any(formatting.TOO_FEW in str(text) for text in texts):
        return []
    if not (words := _own_command(folder, "--passes")):
        return [formatting.TOO_FEW_NOTE]
    passes = folder.environment.get("request", {}).get("passes")
    if isinstance(passes, int) and passes <= _MOST_DOUBLED:  # more: a budget, which is spent anew
        words += ["--passes", str(max(_ENOUGH_PASSES, 2 * passes))]
    command = shlex.join([*words, "--out", str(folder.path), "--resume"])
    return [formatting.TOO_FEW_NOTE, f"More passes, on an idle machine: {command}"]


def not_covered(folder: RunFolder) -> tuple[str, str]:
    """Return what a run does not cover, and the command that measures it; empty if unknown."""
    request = folder.environment.get("request", {})
    axes = {
        "bfloat16": ("dtypes", "--dtype", "bfloat16"),
        "channels_last": ("memory_formats", "--memory-format", "channels_last"),
        "two threads": ("threads", "--threads", "2"),
        "cold caches": ("caches", "--cache", "cold"),
        "training": ("directions", "--direction", "training"),
    }
    left = {
        name: [*(word for value in request[key] for word in (option, str(value))), option, other]
        for name, (key, option, other) in axes.items()
        if len(request.get(key) or ()) == 1 and str(request[key][0]) != other
    }
    options = [axes[name][1] for name in left]
    rows = folder.measurements
    has_parts = rows["role"].eq(SEPARABLE_PART).any()
    probes = rows[rows["role"].eq(ROOFLINE) & rows["status"].eq("ok")]
    if has_parts and rows["implementation"].isna().all():
        left = {"kernels and reorders": []} | left  # every run of this version traces them
    if has_parts and probes["backend"].nunique() < 2:  # a matrix product and a copy
        left = {"the machine's roofline": []} | left
        options.append("--budget")
    words = [word for word in _own_command(folder, *options) if word != "--no-trace"]
    if not left or words[:2] != ["convsweep", "run"]:
        return "", ""
    return formatting.join([*left]), shlex.join(
        [*words, *(w for own in left.values() for w in own)]
    )


def _own_command(folder: RunFolder, *options: str) -> list[str]:
    """Return the words of a run's command without these options, --out and --resume."""
    words = shlex.split(str(folder.environment.get("command") or ""))
    if words[:2] not in (["convsweep", "run"], ["convsweep", "advise"]):
        return []
    kept, rest = [], iter(words)
    for word in rest:
        name, equals, _ = word.partition("=")
        if name in ("--out", *options):
            next(rest if not equals else iter(()), None)
        elif name != "--resume":
            kept.append(word)
    return kept
