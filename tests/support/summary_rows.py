"""Rows of one problem on several backends and passes, for summaries."""

from collections.abc import Iterable
from dataclasses import replace

from convsweep.problems.problem import ConvProblem, format_size
from convsweep.results.schema import Row

TIMES = ["time_s", "ci_low_s", "ci_high_s", "flops_per_s"]
SPEEDUPS = ["speedup", "speedup_ci_low", "speedup_ci_high"]
PROBLEM = ConvProblem(4, 8, (9, 9), 3, padding=1)


def row(backend: str, pass_index: int, median_s: float | None, **changed: object) -> Row:
    made = Row(
        run_id="made-up",
        pass_index=pass_index,
        started_at="2026-11-22T10:00:00.000+00:00",
        environment_id="e0",
        problem=PROBLEM.label,
        batch_size=PROBLEM.batch_size,
        in_channels=PROBLEM.in_channels,
        out_channels=PROBLEM.out_channels,
        input_size=format_size(PROBLEM.input_size),
        kernel_size=format_size(PROBLEM.kernel_size),
        stride=format_size(PROBLEM.stride),
        padding=format_size(PROBLEM.padding),
        dilation=format_size(PROBLEM.dilation),
        groups=PROBLEM.groups,
        bias=PROBLEM.bias,
        weight_kind="separable",
        backend=backend,
        device="cpu",
        dtype="float32",
        memory_format="contiguous",
        threads=1,
        status="ok" if median_s is not None else "error",
        median_s=median_s,
        macs=PROBLEM.macs,
        backend_macs=PROBLEM.macs,
        min_bytes=PROBLEM.min_bytes(),
    )
    return replace(made, **changed)


def rows(backend: str, medians_s: Iterable[float | None], **changed: object) -> list[Row]:
    """One row a pass."""
    return [row(backend, index, median_s, **changed) for index, median_s in enumerate(medians_s)]
