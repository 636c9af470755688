"""Tables of the report: findings of a run as cells of text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pandas import DataFrame

from convsweep import formatting
from convsweep.analysis.best_backend import fastest
from convsweep.analysis.run import Run, mean_speedup, unsteady
from convsweep.analysis.sample_flags import FLAGS
from convsweep.analysis.summary import SPEEDUP, TIME, interval_of
from convsweep.report.table import Table

_MAX_NAMES = 5


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
    """Return one row per setting and backend: times fastest, mean speedup, verdicts."""
    verdicts = ("faster", "same", "slower", "undecided")
    speedup = f"mean speedup over {run.baseline} (95 %)"
    heads = ("setting", "backend", "cases timed", "fastest in", speedup, "over problems", *verdicts)
    rows: list[tuple[str, ...]] = []
    for setting in run.settings:
        part = run.within(setting)
        best = fastest(part)
        for name in part.backends:
            cases = part.cases[part.cases["backend"] == name]
            timed = f"{(cases['status'] == 'ok').sum()} of {len(cases)}"
            wins = ((best["backend"] == name) & best["significant"]).sum()
            row = (setting, name, timed, f"{wins} of {len(best)}")
            if name == run.baseline:
                rows.append((*row, "1 (baseline)", *[""] * 5))
                continue
            mean = mean_speedup(part, name)
            counts = ((cases["verdict"] == verdict).sum() for verdict in verdicts)
            rows.append(
                (*row, formatting.speedup(*mean.interval), *map(str, (mean.problems, *counts)))
            )
    return Table.by_setting(heads, rows, heads[2:])


def what_was_run(run: Run, measurements: DataFrame, environment: Mapping[str, Any]) -> Table:
    """Return the command, the axes of the grid, backends, settings and passes."""
    problems = run.cases.drop_duplicates(["label", "setting"])
    command = environment.get("command")
    rows = [
        *([("command", " ".join(str(command).split()))] if command else []),
        ("problems", str(run.cases["label"].nunique())),
        ("cases", f"{len(run.cases)}, of which {(run.cases['status'] == 'ok').sum()} have a time"),
        ("backends", ", ".join(run.backends)),
        ("baseline", run.baseline),
        ("passes", str(measurements["pass_index"].nunique())),
    ]
    for name in ("workload", "device", "device_name", "dtype", "memory_format", "threads",
                 "driver", "batch_size", "in_channels", "out_channels", "input_size",
                 "kernel_size", "stride", "padding", "dilation", "groups", "bias",
                 "weight_kind"):  # fmt: skip
        values = list(problems[name].dropna().unique())
        values = sorted(values) if values and isinstance(values[0], (int, np.integer)) else values
        if values:
            rows.append((name, ", ".join(map(str, values))))
    return Table(("what", "value"), rows)


def environment_table(environment: Mapping[str, Any]) -> Table:
    """Return all keys of environment.json, nested ones as `versions.torch`."""
    return Table(("what", "value"), [*_flatten(environment)])


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{name}.")
        elif name.endswith("_bytes") and isinstance(value, (int, float)):
            yield name, formatting.size_in_bytes(float(value))
        elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            yield from _flatten({str(i): one for i, one in enumerate(value, 1)}, f"{name}.")
        elif isinstance(value, list):
            yield name, "; ".join(map(str, value)) or "none"
        else:
            yield name, "unknown" if value is None or value == {} else str(value)


def summary_table(run: Run) -> Table:
    """Return one row per case: time, rate, speedup and verdict."""
    speedup = f"speedup over {run.baseline} (95 %)"
    numbers = ("time (95 %)", "effective GFLOP/s", "of its roofline", speedup)
    rows: list[tuple[str, ...]] = []
    for _, case in run.cases.iterrows():
        baseline = case["verdict"] == "baseline"
        rows.append((
            case["setting"], case["label"], case["backend"],
            formatting.time(*interval_of(case, TIME)), formatting.digits(case["flops_per_s"] / 1e9),
            _share(case["roofline_fraction"], case["bound"]),
            "1 (baseline)" if baseline else formatting.speedup(*interval_of(case, SPEEDUP)),
            case["verdict"] if case["status"] == "ok" else _words(case["status"]),
            str(case["passes"]),
        ))  # fmt: skip
    heads = ("setting", "problem", "backend", *numbers, "verdict", "passes")
    return Table.by_setting(heads, rows, {*numbers, "passes"})


def _share(fraction: float, bound: object) -> str:
    """Return `91 % (compute)`: share of the roofline, and what limits it."""
    return "" if np.isnan(fraction) else f"{formatting.percent(fraction)} ({bound})"


def correctness_table(run: Run, measurements: DataFrame) -> Table:
    """Return the largest error of each backend against the float64 reference."""
    rows: list[tuple[str, ...]] = []
    for backend in run.backends:
        own = measurements[measurements["backend"] == backend]
        checked = own[own["error_ratio"].notna()]
        worst = checked.sort_values("error_ratio")["label"].to_list()[-1:]
        wrong = run.cases[(run.cases["backend"] == backend) & (run.cases["status"] == "mismatch")]
        rows.append((
            backend, str(len(checked.groupby(["label", "setting"]))), str(len(wrong)),
            formatting.digits(own["error_ratio"].max()), *(worst or [formatting.NO_VALUE]),
            formatting.digits(own["max_abs_err"].max()),
        ))  # fmt: skip
    heads = ("backend", "cases checked", "mismatches", "worst error ratio", "at",
             "largest absolute error")  # fmt: skip
    return Table(heads, rows, frozenset(heads[1:4] + heads[5:]))


def disturbance_table(run: Run, measurements: DataFrame) -> Table:
    """Return memory, page faults and context switches of each backend that has them."""
    columns = ["peak_memory_bytes", "page_faults_per_call", "context_switches"]
    rows: list[tuple[str, ...]] = []
    for backend in run.backends:
        own = measurements.loc[measurements["backend"] == backend, columns]
        if own.isna().all(axis=None):
            continue
        switches = own["context_switches"]
        rows.append((
            backend, formatting.size_in_bytes(own["peak_memory_bytes"].max()),
            formatting.digits(own["page_faults_per_call"].median()),
            formatting.digits(own["page_faults_per_call"].max()),
            f"{switches.sum():.0f}" if switches.notna().any() else formatting.NO_VALUE,
        ))  # fmt: skip
    heads = ("backend", "peak memory, largest", "page faults per call, median",
             "page faults per call, largest", "context switches, total")  # fmt: skip
    return Table(heads, rows, frozenset(heads[1:]))


def unsteady_table(run: Run) -> Table:
    """Return one row per flag that at least half of the passes of a case have."""
    words = unsteady(run.cases)
    rows: list[tuple[str, ...]] = []
    for (setting, word), of in words.groupby([run.cases["setting"], words], sort=False):
        cases = run.cases.loc[of.index]
        names = [f"{case['backend']} on {case['label']}" for _, case in cases.iterrows()]
        more = [f"{len(names) - _MAX_NAMES} more"] if len(names) > _MAX_NAMES else []
        means = FLAGS.get(str(word), "unknown to this version")
        which = formatting.join([*names[:_MAX_NAMES], *more])
        rows.append((str(setting), str(word), means, str(len(names)), which))
    return Table.by_setting(("setting", "flag", "meaning", "cases", "examples"), rows, {"cases"})


def absent_table(run: Run) -> Table:
    """Return the cases without a time, by backend and reason."""
    absent = run.cases[run.cases["status"] != "ok"].copy()
    absent["reason"] = absent["reason"].replace("", "no reason given")
    absent["skeleton"] = absent["reason"].map(lambda reason: _NUMBER.sub("#", reason))
    groups = ["setting", "backend", "status", "skeleton"]
    rows: list[tuple[str, ...]] = []
    for _, cases in absent.groupby(groups, sort=False):
        first = cases.iloc[0]
        rows.append((
            first["setting"], first["backend"], _words(first["status"]),
            merge_reasons(list(cases["reason"])), str(len(cases)), ", ".join(cases["label"]),
        ))  # fmt: skip
    heads = ("setting", "backend", "status", "reason", "cases", "problems")
    return Table.by_setting(heads, rows, {"cases"})


_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\d_x])")


def merge_reasons(reasons: list[str]) -> str:
    """Return one reason for several that differ in numbers only: `predicted 12 to 145 s`."""
    values = zip(*(_NUMBER.findall(reason) for reason in reasons), strict=True)
    ends = iter([dict.fromkeys((min(v, key=float), max(v, key=float))) for v in values])
    return _NUMBER.sub(lambda _: " to ".join(next(ends)), reasons[0])


def _words(status: str) -> str:
    return status.replace("_", " ")
