"""Tables of the report: findings of a run as cells of text."""

import re
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.best_backend import fastest
from convsweep.analysis.labels import SETTING_COLUMNS
from convsweep.analysis.run import Run, mean_speedup, top_backends, unsteady
from convsweep.analysis.sample_flags import FLAGS
from convsweep.report.table import Table
from convsweep.results.machines import describe_machines, machines, warnings

MOST_PROBLEMS = 60  # Rows of the table of all cases
_MOST_BACKENDS, _MOST_COLUMNS, _MOST_VALUES = 12, 6, 10
_AXES = ("batch_size", "in_channels", "out_channels", "input_size", "kernel_size", "stride",
         "padding", "padding_end", "output_padding", "dilation", "groups", "bias",
         "weight_kind")  # fmt: skip
_VERSIONS = ("python", "torch", "convsweep")


def escape_markdown(text: object) -> str:
    """Return text for a line or a table cell of Markdown, where it reads the same."""
    line = formatting.printable(" ".join(str(text).split()))
    line = re.sub(r"[\\`*|$~\[\]]", r"\\\g<0>", line)
    line = re.sub(r"\b_+|_+\b", lambda found: found[0].replace("_", "\\_"), line)
    line = re.sub(r"^([-+](?= |--)|[#>]|\[(?=[ xX]\]))", r"\\\1", line)  # a list, heading or quote
    line = re.sub(r"^(\d+)([.)](?: |$))", r"\1\\\2", line)
    return line.replace("&", "&amp;").replace("<", "&lt;")


def markdown(table: Table) -> str:
    """Return the table in Markdown."""
    table = table.filled
    rule = ("---:" if head in table.right else "---" for head in table.heads)
    rows = [map(escape_markdown, table.heads), rule, *(map(escape_markdown, r) for r in table.rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def backend_table(run: Run) -> Table:
    """Return one row per backend: times fastest, mean speedup, verdicts; or one per setting."""
    if len(run.settings) > 1:
        return _mean_speedups(run)
    verdicts = ("faster", "same", "slower", "undecided")
    heads = ("backend", "timed", "fastest", f"mean speedup over {run.baseline}", *verdicts)
    best, rows = fastest(run), []
    for name in top_backends(run, _MOST_BACKENDS).backends:
        cases = run.cases[run.cases["backend"] == name]
        timed = f"{(cases['status'] == 'ok').sum()} of {len(cases)}"
        wins = str(((best["backend"] == name) & best["significant"]).sum())
        mean = mean_speedup(run, name).interval
        if name == run.baseline:
            cells = ["baseline", *[""] * len(verdicts)]
        else:
            known = bool(mean.value > 0)
            counts = (str((cases["verdict"] == v).sum()) if known else "" for v in verdicts)
            cells = [formatting.speedup(*mean), *counts]
        rows.append((mean.value, (name, timed, wins, *cells)))
    rows.sort(key=lambda row: (row[1][0] != run.baseline, -row[0] if row[0] > 0 else 0))
    return Table(heads, [row for _, row in rows], frozenset(heads[1:]))


def _mean_speedups(run: Run) -> Table:
    """Return one row per setting, with the mean speedup of each backend within it."""
    backends = [one for one in top_backends(run, _MOST_COLUMNS).backends if one != run.baseline]
    rows = [
        (setting, *(formatting.speedup(*mean_speedup(own, name).interval) for name in backends))
        for setting in run.settings
        for own in [run.within(setting)]
    ]
    heads = tuple(f"{name} over {run.baseline}" for name in backends)
    return Table(("setting", *heads), rows if backends else [], frozenset(heads))


def run_table(run: Run, passes: int, environment: Mapping[str, Any]) -> Table:
    """Return the command, the machine, the backends, and the axes that vary."""
    rows = [
        ("command", " ".join(str(environment.get("command") or "").split())),
        *environment_table(environment).rows,
        ("problems", str(run.cases["label"].nunique())),
        ("backends", ", ".join(run.backends)),
        ("passes", str(passes)),
    ]
    for name in ("workload", *SETTING_COLUMNS[:7], *_AXES):
        values = [*run.cases[name].dropna().unique()]
        values = sorted(values) if values and isinstance(values[0], (int, np.integer)) else values
        if len(values) > 1 or (values and name in SETTING_COLUMNS):
            more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
            rows.append((name, ", ".join(map(str, values[:_MOST_VALUES])) + more))
    return Table(("what", "value"), [row for row in rows if row[1]])


def environment_table(environment: Mapping[str, Any]) -> Table:
    """Return machine, versions and warnings; environment.json has the rest."""
    described = [*machines(environment).values()]
    rows = [
        ("machine", "; ".join(describe_machines(environment))),
        ("system", "; ".join(dict.fromkeys(map(_system, described)))),
        ("versions", "; ".join(dict.fromkeys(map(_versions, described)))),
        ("measured", str(environment.get("started_at") or "")[:10]),
        *(("warning", text) for text in warnings(environment)),
    ]
    return Table(("what", "value"), [row for row in rows if row[1]])


def _system(metadata: Mapping[str, Any]) -> str:
    machine = metadata.get("machine", {})
    cores, memory, system = (machine.get(n) for n in ("cores_physical", "memory_bytes", "os"))
    texts = (
        cores and formatting.count(cores, "core"),
        memory and formatting.size_in_bytes(memory),
        system,
    )
    return ", ".join(str(text) for text in texts if text)


def _versions(metadata: Mapping[str, Any]) -> str:
    versions = metadata.get("versions", {})
    named = [f"{name} {versions[name]}" for name in _VERSIONS if name in versions]
    commit = metadata.get("commit")
    return ", ".join([*named, *([f"commit {commit}"] if commit else [])])


def case_matrix(run: Run) -> Table:
    """Return one row per problem: time and speedup of each backend, of the slowest problems."""
    shown = top_backends(run, _MOST_COLUMNS)
    slowest = shown.cases.groupby(["setting", "label"])["time_s"].max()
    slowest = slowest.fillna(0).nlargest(MOST_PROBLEMS)
    rows = []
    for keys, cases in shown.cases.groupby(["setting", "label"], sort=False):
        if keys in slowest.index:
            cells = {case["backend"]: case_cell(case) for case in cases.to_dict("records")}
            rows.append((*map(str, keys), *(cells.get(name, "") for name in shown.backends)))
    return Table.by_setting(("setting", "problem", *shown.backends), rows, shown.backends)


def case_cell(case: Mapping[Hashable, Any]) -> str:
    """Return `14.7 µs 1.9x`, with a question mark if the speedup is undecided, or the status."""
    if case["status"] != "ok":
        return formatting.NO_VALUE if case["status"] == "skipped" else _words(case["status"])
    text = formatting.seconds(case["time_s"])
    if case["verdict"] == "baseline" or np.isnan(case["speedup"]):
        return text
    return f"{text} {formatting.speedup(case['speedup'])}{'?' * (case['verdict'] == 'undecided')}"


def correctness_table(run: Run, measurements: DataFrame) -> Table:
    """Return the largest error of each backend against the reference, and its largest memory."""
    rows: list[tuple[str, ...]] = []
    for backend in run.backends:
        own = measurements[measurements["backend"] == backend]
        checked = own[own["error_ratio"].notna()]
        wrong = run.cases[(run.cases["backend"] == backend) & (run.cases["status"] == "mismatch")]
        rows.append((
            backend, str(len(checked.groupby(["label", "setting"]))), str(len(wrong)),
            formatting.digits(own["error_ratio"].max()),
            formatting.size_in_bytes(own["peak_memory_bytes"].max()),
        ))  # fmt: skip
    heads = ("backend", "cases checked", "mismatches", "worst error ratio", "peak memory")
    return Table(heads, rows, frozenset(heads[1:]))


def unsteady_table(run: Run) -> Table:
    """Return one row per flag that at least half of the passes of a case have."""
    words = unsteady(run.cases)
    rows: list[tuple[str, ...]] = []
    for word, of in words.groupby(words, sort=False):
        cases = run.cases.loc[of.index].sort_values("time_s")
        example = f"{cases['backend'].iloc[-1]} on {cases['label'].iloc[-1]}"
        means = FLAGS.get(str(word), "unknown to this version")
        rows.append((str(word), means, str(len(cases)), example))
    return Table(("flag", "meaning", "cases", "such as"), rows, frozenset({"cases"}))


def absent_table(run: Run) -> Table:
    """Return the cases without a time, by backend and reason."""
    absent = run.cases[run.cases["status"] != "ok"].copy()
    absent["reason"] = absent["reason"].replace("", "no reason given")
    absent["skeleton"] = absent["reason"].map(lambda reason: _NUMBER.sub("#", reason))
    groups = ["backend", "status", "skeleton"]
    rows: list[tuple[str, ...]] = []
    for _, cases in absent.groupby(groups, sort=False):
        first = cases.iloc[0]
        rows.append((
            first["backend"], _words(first["status"]),
            merge_reasons(list(cases["reason"])), str(len(cases)), first["label"],
        ))  # fmt: skip
    heads = ("backend", "status", "reason", "cases", "such as")
    return Table(heads, rows, frozenset({"cases"}))


_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\d_x])")


def merge_reasons(reasons: list[str]) -> str:
    """Return one reason for several that differ in numbers only: `predicted 12 to 145 s`."""
    values = zip(*(_NUMBER.findall(reason) for reason in reasons), strict=True)
    ends = iter([dict.fromkeys((min(v, key=float), max(v, key=float))) for v in values])
    return _NUMBER.sub(lambda _: " to ".join(next(ends)), reasons[0])


def _words(status: str) -> str:
    return status.replace("_", " ")
