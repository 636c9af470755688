"""Made-up networks: rows of their layers, and of end-to-end runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import CONVBENCH, workloads
from convsweep.results.networks import (
    BACKWARD,
    CONVOLUTION,
    INSTRUMENTED,
    NETWORKS_TABLE,
    WHOLE,
    NetworkRow,
)
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made

PAIR = (made.square(64, 14, 3, groups=64), ConvProblem(64, 128, (14, 14), 1))
LAYERS: Mapping[str, tuple[tuple[str, int, ConvProblem], ...]] = {
    "net": (("stem", 1, made.square(16, 56, 3)), ("dw", 4, PAIR[0]), ("pw", 4, PAIR[1])),
    "net_standard": (
        ("stem", 1, made.square(16, 56, 3)),
        ("block", 4, ConvProblem(64, 128, (14, 14), 3, padding=1)),
    ),
}
PUBLISHED = {
    name: tuple((layer.name, layer.count, layer.problem) for layer in layers)
    for name, layers in workloads().items()
    if name != CONVBENCH
}
"""The layers of the fifteen published networks."""
Seconds = Callable[[ConvProblem, str, str], float]


def rows(
    *names: str,
    backends: tuple[str, ...] = ("torch_conv", "im2col", "separable"),
    seconds: Seconds = made.modelled_s,
    passes: int = 6,
    noise: float = 0.01,
    batch_size: int = 1,
) -> list[Row]:
    return [
        replace(row, workload=workload, layer=layer, layer_count=count)
        for workload in names or LAYERS
        for number, (layer, count, problem) in enumerate(_layers(workload))
        for row in made.rows(
            [replace(problem, batch_size=batch_size)],
            backends=backends,
            seconds=seconds,
            passes=passes,
            noise=noise,
            seed=number,
        )
    ]


def inside(
    network: str = "net",
    *,
    slower: float = 1.0,
    passes: int = 6,
    others: float = 5e-5,
    watching: float = 0.05,
    batch_size: int = 1,
    backward: float = 0.0,
) -> list[NetworkRow]:
    """Return rows of a network whose convolutions take `slower` times as long as alone.

    They are those of a training step with `backward`, the share of their time.
    """
    found: list[NetworkRow] = []
    for index in range(passes):
        whole = NetworkRow(
            run_id="synthetic", pass_index=index, started_at="2026-11-22T10:00:00+00:00",
            environment_id="e0", network=network, device="cpu", dtype="float32",
            memory_format="contiguous", threads=1, kind=WHOLE, count=1, calls=9, status="ok",
            batch_size=batch_size, direction="training" if backward else "forward",
        )  # fmt: skip
        jitter = 1 + 0.002 * math.sin(index)
        total_s = 0.0
        for layer, count, problem in _layers(network):
            problem = replace(problem, batch_size=batch_size)
            own_s = jitter * slower * count * made.modelled_s(problem, "torch_conv", "cpu")
            total_s += own_s
            for kind, share in ((CONVOLUTION, 1 - backward), (BACKWARD + CONVOLUTION, backward)):
                found += [
                    replace(whole, kind=kind, layer=layer, problem=problem.label, count=count,
                            call_s=share * own_s / count, total_s=share * own_s)
                ] * (share > 0)  # fmt: skip
        for kind in ("batch norm", "pooling"):
            found.append(replace(whole, kind=kind, count=3, call_s=others / 3, total_s=others))
        seconds = total_s + 2.5 * others
        for kind, own_s in ((INSTRUMENTED, (1 + watching) * seconds), (WHOLE, seconds)):
            found.append(replace(whole, kind=kind, call_s=own_s, total_s=own_s))
    return found


def _layers(name: str) -> tuple[tuple[str, int, ConvProblem], ...]:
    return LAYERS[name] if name in LAYERS else PUBLISHED[name]


def write(run_dir: Path, *names: str, passes: int = 4) -> Path:
    """Write a run of published networks, each of them also timed end to end."""
    backends = ("im2col", "pointwise", "torch_conv", "separable")
    made.write(run_dir, rows(*names, backends=backends, passes=passes), made.ENVIRONMENT)
    table = NETWORKS_TABLE.open(run_dir)
    for name in names:
        table.append(*inside(name, slower=1.1, passes=passes))
    table.close()
    return run_dir


def frame(*networks: list[NetworkRow]) -> pd.DataFrame:
    return pd.DataFrame([vars(row) for rows in networks for row in rows])


def modelled(workload: str, backend: str) -> float:
    return sum(n * made.modelled_s(p, backend, "cpu") for _, n, p in LAYERS[workload])


def fastest_s(problem: ConvProblem, *backends: str) -> float:
    able = [b for b in backends if made.outcome(problem, b, 0.0)[0] == "ok"]
    return min(made.modelled_s(problem, backend, "cpu") for backend in able)
