"""Graph of convolutions for an engine, and the backends that graph engines have."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from convsweep.backends import base
from convsweep.backends.blocks import dense_graph, separable_graph
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import (
    depthwise_part,
    not_separable_reason,
    separable_macs,
    separable_min_bytes,
)

_FEWEST_VALUES = 64  # in int8; the mean error of fewer depends on the draw


def dense_and_separable(
    names: tuple[str, str],
    convolution: Callable[..., base.Conv],
    *,
    sources: tuple[str, str],
    unsupported: Callable[[ConvProblem], str | None] = base.supports_all,
    dtypes: tuple[str, ...] = ("float32",),
    dtype_unsupported: Callable[[ConvProblem, str], str | None] = base.supports_every_dtype,
    own_padding_end: bool = True,
    int8_source: str = "",
    **fields: Any,
) -> tuple[base.Backend, ...]:
    """Return two backends of an engine on the CPU: dense, and separable in one graph.

    `convolution` makes one function of a graph's layers. `names` and `sources` are those of the
    dense and of the separable backend; `int8_source` adds the dense one with `int8=True`. Other
    arguments, and further ones, are fields of `Backend`.
    """
    dense = base.Backend(
        names[0],
        lambda problem, weights: convolution(dense_graph(problem, weights)),
        unsupported,
        error_bound=base.library_bound,
        source=sources[0],
        direct=False,
        prepare_block=convolution,
        own_padding_end=own_padding_end,
        device_types=("cpu",),
        dtypes=dtypes,
        dtype_unsupported=dtype_unsupported,
        float32_sums=True,
        family="engines",
        **fields,
    )
    separable = replace(
        dense,
        name=names[1],
        prepare=lambda problem, weights: convolution(separable_graph(problem, weights)),
        unsupported=lambda problem: unsupported(problem) or not_separable_reason(problem),
        macs=separable_macs,
        min_bytes=separable_min_bytes,
        error_bound=base.factored_sum_bound,
        dtype_unsupported=lambda problem, dtype: dtype_unsupported(depthwise_part(problem), dtype),
        float32_sums=False,
        source=sources[1],
        needs_factors=True,
        transposed=False,
    )
    int8 = replace(
        dense,
        name=f"{names[0]}_int8",
        prepare=lambda problem, weights: convolution(dense_graph(problem, weights), int8=True),
        unsupported=lambda problem: unsupported(problem) or _too_few_values(problem),
        error_bound=lambda problem: math.inf,
        dtypes=("float32",),
        dtype_unsupported=base.supports_every_dtype,
        prepare_block=None,
        source=int8_source,
        transposed=False,
        quantized=True,
    )
    return (dense, separable, int8) if int8_source else (dense, separable)


def _too_few_values(problem: ConvProblem) -> str | None:
    fewest = min(math.prod(problem.input_shape), math.prod(problem.output_shape))
    return None if fewest >= _FEWEST_VALUES else f"needs {_FEWEST_VALUES} inputs and outputs"
