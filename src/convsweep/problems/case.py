"""Cases of a sweep: each is one problem on one backend under one setting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import is_replaceable
from convsweep.problems.workloads import Layer

ITEMSIZE = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
"""Bytes per element of each dtype."""
DTYPES = tuple(ITEMSIZE)
MEMORY_FORMATS = ("contiguous", "channels_last")
WEIGHT_KINDS = ("separable", "dense")
CACHES = ("hot", "cold")
FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHT, TRAINING = DIRECTIONS = (
    "forward", "backward_input", "backward_weight", "training",
)  # fmt: skip
"""Forward pass; gradient of the input alone; of the weight and bias alone; all three of them."""
CONV, CONV_BN_ACT, CONV_BN_ACT_FOLDED = BLOCKS = ("conv", "conv_bn_act", "conv_bn_act_folded")
"""Convolution alone; with batch norm and ReLU; the same with the batch norm folded into it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time."""

    layer: Layer
    weight_kind: str
    device: str
    dtype: str
    memory_format: str
    threads: int
    cache: str  # `hot`: the input stays in the caches between calls; `cold`: the caches are flushed
    backend: str
    direction: str = FORWARD
    block: str = CONV

    def __hash__(self) -> int:
        """Return a hash of what mostly differs: one of all fields takes four times as long."""
        problem = self.layer.problem
        return hash((problem.in_channels, problem.out_channels, problem.input_size, self.backend))

    @property
    def problem(self) -> ConvProblem:
        """The shape to compute."""
        return self.layer.problem

    @property
    def products(self) -> int:
        """Number of products of the size of the forward pass: each has its MACs."""
        return 3 if self.direction == TRAINING else 1

    @property
    def group(self) -> Case:
        """This case without its backend: equal for all cases that are compared and interleaved."""
        return self.on("")

    @property
    def data(self) -> tuple[object, ...]:
        """Equal for all cases with the same inputs and reference."""
        has_gradients = self.direction != FORWARD
        return self.problem, self.weight_kind, self.dtype, has_gradients, self.block

    @property
    def siblings(self) -> tuple[object, ...]:
        """Equal for all cases of one layer, whatever their backend, setting and batch size."""
        layer, shape = self.layer, self.problem.label.partition("_")[2]
        return shape, layer.workload, layer.name, layer.count, layer.role, self.weight_kind

    def on(self, backend: str) -> Case:
        """Return the same case on another backend."""
        return replace(self, backend=backend)


def cross(
    layers: Sequence[Layer],
    backends: Sequence[str],
    *,
    devices: Sequence[str] = ("cpu",),
    dtypes: Sequence[str] = ("float32",),
    memory_formats: Sequence[str] = ("contiguous",),
    threads: Sequence[int] = (1,),
    caches: Sequence[str] = ("hot",),
    directions: Sequence[str] = (FORWARD,),
    blocks: Sequence[str] = (CONV,),
    weight_kind: str = "separable",
) -> list[Case]:
    """Return every combination; the backends of one problem and setting are neighbours.

    A layer that no separable layer can replace gets dense weights, whatever `weight_kind` is.
    """
    settings = itertools.product(devices, dtypes, memory_formats, threads, caches)
    every = list(itertools.product(settings, directions, blocks, backends))
    return [
        Case(
            layer,
            weight_kind if is_replaceable(layer.problem) else "dense",
            *setting,
            backend,
            direction,
            block,
        )
        for layer in layers
        for setting, direction, block, backend in every
    ]
