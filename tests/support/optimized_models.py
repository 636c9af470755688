"""A small model, tables of made-up times for its layers, and what became of it."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

import convsweep
from convsweep import Backend, ConvProblem, Weights
from convsweep.backends import registry
from convsweep.backends.base import Conv
from convsweep.models.optimize.dispatch import this_machine
from convsweep.models.optimize.geometry import geometry
from convsweep.models.optimize.layers import dispatches
from convsweep.models.optimize.report import OptimizeReport
from convsweep.results.best_csv import BEST_COLUMNS, MACHINE
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made

Write = Tabled = Callable[..., Path]
THREADS = 1


def this_environment() -> dict[str, object]:
    environment: dict[str, dict[str, str]] = {"machine": {}, "versions": {}}
    for (name, part), value in zip(MACHINE.items(), this_machine(), strict=True):
        environment[part][name] = value
    return made.ENVIRONMENT | environment


def rows_for(problems: Mapping[ConvProblem, str], passes: int = 5, **changes: object) -> list[Row]:
    """Rows in which the named backend takes half of torch's time."""
    rows = [
        row
        for problem, name in problems.items()
        for row in made.rows(
            [problem],
            backends=dict.fromkeys((name, "torch_conv")),
            passes=passes,
            seconds=lambda p, b, d: 1e-3 if b == "torch_conv" else 5e-4,
            judge=lambda p, b, s: ("ok", None),
        )
    ]
    known = registry.list_backends()
    return [
        replace(
            row,
            backend_version=known[row.backend].version or None,
            threads=THREADS,
            weight_kind="dense",
            relative_err=1e-7,
            **changes,
        )
        for row in rows
    ]


def table_for(problems: Mapping[ConvProblem, str], **changes: object) -> pd.DataFrame:
    """A best.csv of this machine in which the named backend takes half of torch's time."""
    known = registry.list_backends()
    rows = [
        dict.fromkeys(BEST_COLUMNS)
        | dict(zip(MACHINE, this_machine(), strict=True))
        | {"problem": problem.label, "device": "cpu", "dtype": "float32", "threads": THREADS,
           "memory_format": "contiguous", "cache": "hot", "driver": "convsweep",
           "backend": name, "backend_version": known[name].version, "time_s": 5e-4,
           "direction": "forward", "block": "conv",
           "baseline": "torch_conv", "speedup": 2.0, "speedup_ci_low": 1.9,
           "speedup_ci_high": 2.1, "relative_err": 1e-7}
        | changes
        for problem, name in problems.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(BEST_COLUMNS))


class Small(nn.Module):
    """A stem, a module that is called on two sizes, a depthwise layer, and a function."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding="same", bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(8)
        self.weight = nn.Parameter(torch.randn(4, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.stem(x)).relu_()
        x = self.twice(nn.functional.max_pool2d(x, 2))
        return conv2d(self.depthwise(self.norm(x)), self.weight).mean((2, 3))


SHAPE = (2, 3, 16, 16)


def problems_of(model: nn.Module, x: Tensor) -> dict[ConvProblem, str]:
    """Every problem of the model's modules, to be computed by im2col."""
    found: dict[ConvProblem, str] = {}

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        own = geometry(module, inputs[0])
        if own is not None:
            found[own.problem] = "im2col"

    hooks = [
        m.register_forward_pre_hook(note)
        for m in model.modules()
        if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    ]
    with torch.no_grad():
        copy.deepcopy(model).eval()(x)
    for hook in hooks:
        hook.remove()
    return found


def optimize(model: nn.Module, source: object, x: object, **how: object) -> nn.Module:
    return convsweep.optimize(model, source, inputs=x, **{"measure_s": 0, **how})


def near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def report_of(optimized: nn.Module) -> OptimizeReport:
    assert isinstance(optimized.convsweep_report, OptimizeReport)
    return optimized.convsweep_report


def calls(optimized: nn.Module) -> dict[str, int]:
    """What has run, over all layers."""
    found: dict[str, int] = {}
    for dispatch in dispatches(optimized).values():
        for name, count in dispatch.calls.items():
            found[name] = found.get(name, 0) + count
    return found


def scaled(off: float, name: str = "scaled", **more: object) -> Backend:
    """A backend whose answers are `off` times as large as they should be."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        honest = registry.list_backends()["torch_conv"].prepare(problem, weights)
        return lambda x: honest(x) * off

    return Backend(name, prepare, version="1", **more)  # type: ignore[arg-type]


class Narrowing(nn.Module):
    """A model that can't run in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.float()).relu())
