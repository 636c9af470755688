"""Made-up runs: times from a simple model of each backend, written through the store."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from convsweep.problems.problem import ConvProblem, format_size
from convsweep.problems.separable import depthwise_part, is_replaceable, pointwise_part
from convsweep.results.schema import MEASUREMENTS_TABLE, ROOFLINE, SEPARABLE_PART, Row
from convsweep.results.store import write_environment

BACKENDS = ("loop", "im2col", "pointwise", "torch_conv", "separable")

# Seconds of overhead and multiply-accumulates a second.
SPEEDS = {
    "loop": (2e-5, 2e6),
    "im2col": (3e-6, 1.6e10),
    "pointwise": (2e-6, 4e10),
    "torch_conv": (5e-6, 4.5e10),
    "separable": (9e-6, 2.5e10),
}


def square(channels: int, size: int, kernel: int, **more: int) -> ConvProblem:
    return ConvProblem(channels, channels, (size, size), kernel, padding=kernel // 2, **more)


def grid(
    channels: Iterable[int] = (4, 16, 64, 256),
    sizes: Iterable[int] = (7, 14, 28, 56),
    kernels: Iterable[int] = (1, 3),
) -> list[ConvProblem]:
    sizes, kernels = tuple(sizes), tuple(kernels)
    return [square(c, s, k) for c in channels for s in sizes for k in kernels]


def work(problem: ConvProblem, backend: str) -> int:
    """What the backend multiplies; a separable layer's depthwise and pointwise parts."""
    if backend != "separable":
        return problem.macs
    pixels = problem.batch_size * math.prod(problem.output_size)
    return pixels * (
        problem.in_channels * math.prod(problem.kernel_size)
        + problem.in_channels * problem.out_channels
    )


def moved(problem: ConvProblem, backend: str) -> int:
    """What the backend reads and writes at least."""
    if backend != "separable" or not is_replaceable(problem):
        return problem.min_bytes()
    return depthwise_part(problem).min_bytes() + pointwise_part(problem).min_bytes()


def modelled_s(problem: ConvProblem, backend: str, device: str) -> float:
    overhead_s, macs_per_s = SPEEDS.get(backend, (4e-6, 3e10))
    factor = {"cpu": 1.0, "cuda": 0.1}.get(device, 30.0)
    return overhead_s + factor * work(problem, backend) / macs_per_s


def outcome(problem: ConvProblem, backend: str, seconds: float) -> tuple[str, str | None]:
    """A status and its reason, as the run wing gives them."""
    if backend == "pointwise" and not problem.is_pointwise:
        return "skipped", "needs kernel_size 1, no padding, groups=1"
    if backend == "separable" and (problem.is_pointwise or problem.groups > 1):
        return "skipped", "needs groups=1, a kernel above 1, no transposition"
    if seconds > 10:
        return "timeout", f"predicted {seconds:.3g} s, over the limit of 10 s"
    return "ok", None


def rows(
    problems: Iterable[ConvProblem],
    *,
    backends: Iterable[str] = BACKENDS,
    passes: int = 5,
    device: str = "cpu",
    seconds: Callable[[ConvProblem, str, str], float] = modelled_s,
    judge: Callable[[ConvProblem, str, float], tuple[str, str | None]] = outcome,
    noise: float = 0.02,
    seed: int = 0,
) -> list[Row]:
    """The rows of a run over `problems`, with noise of a few percent from pass to pass."""
    generator = np.random.default_rng(seed)
    made = []
    for pass_index in range(passes):
        for problem in problems:
            for backend in backends:
                true_s = seconds(problem, backend, device)
                status, reason = judge(problem, backend, true_s)
                measured_s = true_s * math.exp(generator.normal(0, noise))
                row = _row(problem, backend, pass_index, device)
                if status == "ok":
                    row = replace(row, **_times(measured_s))
                made.append(replace(row, status=status, reason=reason))
    return made


def _row(problem: ConvProblem, backend: str, pass_index: int, device: str) -> Row:
    return Row(
        run_id="synthetic",
        pass_index=pass_index,
        started_at="2026-11-22T10:00:00+00:00",
        environment_id="e0",
        problem=problem.label,
        batch_size=problem.batch_size,
        in_channels=problem.in_channels,
        out_channels=problem.out_channels,
        input_size=format_size(problem.input_size),
        kernel_size=format_size(problem.kernel_size),
        stride=format_size(problem.stride),
        padding=format_size(problem.padding),
        dilation=format_size(problem.dilation),
        groups=problem.groups,
        bias=problem.bias,
        padding_end=None
        if problem.padding_end == problem.padding
        else format_size(problem.padding_end),
        output_padding=format_size(problem.output_padding) if problem.transposed else None,
        weight_kind="separable" if is_replaceable(problem) else "dense",
        backend=backend,
        device=device,
        device_name={"cpu": "AMD EPYC 7B13"}.get(device),
        dtype="float32",
        memory_format="contiguous",
        threads=1,
        status="ok",
        macs=problem.macs,
        backend_macs=work(problem, backend),
        min_bytes=problem.min_bytes(),
        backend_bytes=moved(problem, backend),
    )


def _times(median_s: float) -> dict[str, float | int]:
    return {
        "max_abs_err": 3e-6,
        "error_ratio": 1.5,
        "prepare_s": 1e-5,
        "first_call_s": 4 * median_s,
        "samples": 30,
        "iterations": 10,
        "min_s": 0.97 * median_s,
        "p05_s": 0.98 * median_s,
        "median_s": median_s,
        "p95_s": 1.05 * median_s,
        "mad_s": 0.01 * median_s,
        "page_faults_per_call": 0.0,
        "context_switches": 1,
    }


def with_ceilings(rows: list[Row], flops_per_s: float = 1e11) -> list[Row]:
    """The rows behind those of a machine's ceilings: copies at half the rate from size to size."""
    product = replace(_row(ConvProblem(256, 256, (256,), 1), "matmul", 0, "cpu"), layer="product")
    product_s = 2 * product.macs / flops_per_s
    copies = [
        replace(_row(ConvProblem(1, 1, (size, 1024), 1), "copy", 0, "cpu"), layer=f"copy {size}")
        for size in (64, 1024, 16384)
    ]
    rates = (8e10, 4e10, 2e10)
    timed = [
        (product, product_s),
        *((copy, copy.min_bytes / rate) for copy, rate in zip(copies, rates, strict=True)),
    ]
    return [
        replace(row, role=ROOFLINE, pass_index=index, **_times(seconds))
        for index in range(3)
        for row, seconds in timed
    ] + rows


def with_halves(
    problems: Iterable[ConvProblem], more: Callable[[str], float] = lambda half: 1.0, **how: int
) -> list[Row]:
    """The rows of a run over `problems`, and of the halves of their separable layers.

    `more` is the factor by which a half, `depthwise` or `pointwise`, takes longer than its work.
    """
    problems = list(problems)
    found = rows(problems, **how)
    for name, half in (("depthwise", depthwise_part), ("pointwise", pointwise_part)):
        parts = dict.fromkeys(half(p) for p in problems if is_replaceable(p))
        timed = rows(
            parts,
            backends=["torch_conv"],
            seconds=lambda p, b, d, name=name: more(name) * modelled_s(p, b, d),
            **how,
        )
        found += [replace(row, role=SEPARABLE_PART, layer=name) for row in timed]
    return found


def network(passes: int = 5) -> list[Row]:
    """A small MobileNet: a stem, then depthwise and pointwise layers, some of them repeated."""
    layers = [("stem", 1, ConvProblem(3, 32, (112, 112), 3, stride=2, padding=1))]
    for block, (channels, size, count) in enumerate([(32, 56, 1), (128, 28, 2), (512, 14, 5)], 1):
        depthwise = square(channels, size, 3, groups=channels)
        layers += [(f"block{block}.dw", count, depthwise)]
        layers += [
            (f"block{block}.pw", count, ConvProblem(channels, 2 * channels, (size, size), 1))
        ]
    backends = ("im2col", "pointwise", "torch_conv")
    return [
        replace(row, workload="mobilenet_small", layer=layer, layer_count=count)
        for layer, count, problem in layers
        for row in rows([problem], backends=backends, passes=passes, seed=len(layer))
    ]


def write(run_dir: Path, made: Iterable[Row], environment: dict[str, object] | None = None) -> Path:
    """Write the rows, and the environment where there is one, as a run does."""
    measurements = MEASUREMENTS_TABLE.open(run_dir)
    measurements.append(*map(_ordered, made))
    measurements.close()
    if environment is not None:
        write_environment(run_dir, environment)
    return run_dir


def _ordered(row: Row) -> Row:
    """The row with quantiles on either side of its median, which a test may have changed."""
    median_s = row.median_s
    if median_s is None or row.min_s is None or row.p05_s is None or row.p95_s is None:
        return row
    low = {name: min(getattr(row, name), median_s) for name in ("min_s", "p05_s")}
    return replace(row, p95_s=max(row.p95_s, median_s), **low)


ENVIRONMENT: dict[str, object] = {
    "run_id": "synthetic",
    "command": "convsweep run --grid quick --passes 5",
    "started_at": "2026-11-22T10:00:00+00:00",
    "baseline": "torch_conv",
    "environment_id": "e0",
    "machine": {
        "cpu": "AMD EPYC 7B13",
        "cores_physical": 1,
        "cores_logical": 2,
        "memory_bytes": 8_340_000_000,
        "os": "Linux 6.1",
    },
    "versions": {"python": "3.11.4", "torch": "2.13.0+cpu", "numpy": "2.4.6", "convsweep": "0.1.0"},
    "settings": {
        "passes": 5,
        "threads": 1,
        "allocator": {"MALLOC_TRIM_THRESHOLD_": "2147483648"},
        "tf32": False,
        "case_timeout_s": 10.0,
    },
    "devices": {"cpu": "AMD EPYC 7B13"},
    "warnings": ["The CPU's frequency can't be read."],
    "commit": None,
}
