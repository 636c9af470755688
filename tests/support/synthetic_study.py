"""Synthetic runs with a known roofline: probes, layers at a share of it, separable parts."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import depthwise_part, is_replaceable, pointwise_part
from convsweep.results.schema import ROOFLINE, SEPARABLE_PART, Row
from tests.support import synthetic_runs as made

PEAK_FLOPS_PER_S, CACHE_BYTES_PER_S, MEMORY_BYTES_PER_S = 9e10, 4.5e9, 1.5e9
CACHE_BYTES = 2**22
PART_OF = {"depthwise": depthwise_part, "pointwise": pointwise_part}
PAIR = ("torch_conv", "separable")
Seconds = Callable[[ConvProblem, str, str], float]


def least_s(problem: ConvProblem) -> float:
    """Return the seconds that the roofline allows."""
    moved = problem.min_bytes()
    bandwidth = CACHE_BYTES_PER_S if moved <= CACHE_BYTES else MEMORY_BYTES_PER_S
    return max(problem.flops / PEAK_FLOPS_PER_S, moved / bandwidth)


def near_ceilings(
    standard: float = 0.9, depthwise: float = 0.25, pointwise: float = 0.6, overhead_s: float = 3e-6
) -> Seconds:
    """Return times of layers at these shares of their roofline, plus an overhead per call."""

    def alone(problem: ConvProblem) -> float:
        if problem.is_pointwise:
            return overhead_s + least_s(problem) / pointwise
        share = standard if problem.groups == 1 else depthwise
        return overhead_s + least_s(problem) / share

    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        if backend == "separable":
            return sum(alone(part(problem)) for part in PART_OF.values())
        return alone(problem)

    return seconds


def traced(rows: Iterable[Row], fixed_s: float = 2e-6, reorder_s: float = 1e-6) -> list[Row]:
    """Return the rows; in the first pass a call has this fixed cost, and reorders once."""
    return [
        replace(row, implementation="made", reorders=1, reorder_s=reorder_s,
                kernel_s=row.median_s - fixed_s - reorder_s)
        if row.pass_index == 0 and row.median_s
        else row
        for row in rows
    ]  # fmt: skip


def ceilings(passes: int = 4) -> list[Row]:
    """Return the rows of a matrix product, of a copy in cache and of one in memory."""
    product = ConvProblem(384, 384, (384,), 1)
    copies = {
        "copy 4096 KiB": (ConvProblem(1, 1, (512, 1024), 1), CACHE_BYTES_PER_S),
        "copy 65536 KiB": (ConvProblem(1, 1, (8192, 1024), 1), MEMORY_BYTES_PER_S),
    }
    probes = [(product, "matmul", "matrix product 384", product.flops / PEAK_FLOPS_PER_S)]
    probes += [(p, "copy", layer, p.min_bytes() / rate) for layer, (p, rate) in copies.items()]
    return [
        replace(row, role=ROOFLINE, layer=layer)
        for problem, backend, layer, true_s in probes
        for row in made.rows([problem], backends=(backend,), passes=passes, noise=0.005,
                             seconds=lambda *_, s=true_s: s)
    ]  # fmt: skip


def parts(
    problems: Iterable[ConvProblem], seconds: Seconds, passes: int, noise: float
) -> list[Row]:
    """Return the rows of each separable part alone."""
    return [
        replace(row, role=SEPARABLE_PART, layer=name)
        for name, part in PART_OF.items()
        for row in made.rows(
            dict.fromkeys(part(problem) for problem in problems if is_replaceable(problem)),
            backends=("torch_conv",), passes=passes, noise=noise, seconds=seconds, seed=7,
        )
    ]  # fmt: skip


def rows(
    problems: Iterable[ConvProblem],
    seconds: Seconds | None = None,
    *,
    passes: int = 4,
    noise: float = 0.005,
    backends: Iterable[str] = PAIR,
) -> list[Row]:
    """Return all rows of a run: probes, layers on all backends, separable parts."""
    problems, seconds = [*problems], seconds or near_ceilings()
    layers = made.rows(problems, backends=backends, passes=passes, noise=noise, seconds=seconds)
    return [*ceilings(passes), *layers, *parts(problems, seconds, passes, noise)]
