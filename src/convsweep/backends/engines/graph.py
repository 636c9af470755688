"""Graph of convolutions for an engine, and the pair of backends that every graph engine has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from convsweep.backends.base import (
    Backend,
    Conv,
    GraphLayer,
    factored_sum_bound,
    library_bound,
    supports_all,
    supports_every_dtype,
)
from convsweep.backends.blocks import separable_graph
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import (
    depthwise_part,
    not_separable_reason,
    separable_macs,
    separable_min_bytes,
)


def dense_and_separable(
    names: tuple[str, str],
    convolution: Callable[[Sequence[GraphLayer]], Conv],
    *,
    sources: tuple[str, str],
    unsupported: Callable[[ConvProblem], str | None] = supports_all,
    own_padding_end: bool = True,
    transposed: bool = False,
    dtypes: tuple[str, ...] = ("float32",),
    dtype_unsupported: Callable[[ConvProblem, str], str | None] = supports_every_dtype,
    version: str = "",
    modules: tuple[str, ...] = (),
    extra: str | None = None,
    own_threads: bool = False,
) -> tuple[Backend, Backend]:
    """Return two backends of an engine on the CPU: dense, and separable in one graph.

    `convolution` makes one function of a graph's layers. `names` and `sources` are those of the
    dense and of the separable backend. Other arguments are fields of `Backend`.
    """
    dense = Backend(
        names[0],
        lambda problem, weights: convolution([GraphLayer(problem, weights.dense, weights.bias)]),
        unsupported,
        error_bound=library_bound,
        source=sources[0],
        version=version,
        direct=False,
        prepare_block=convolution,
        own_padding_end=own_padding_end,
        transposed=transposed,
        device_types=("cpu",),
        dtypes=dtypes,
        dtype_unsupported=dtype_unsupported,
        float32_sums=True,
        family="engines",
        modules=modules,
        extra=extra,
        own_threads=own_threads,
    )
    separable = replace(
        dense,
        name=names[1],
        prepare=lambda problem, weights: convolution(separable_graph(problem, weights)),
        unsupported=lambda problem: unsupported(problem) or not_separable_reason(problem),
        macs=separable_macs,
        min_bytes=separable_min_bytes,
        error_bound=factored_sum_bound,
        dtype_unsupported=lambda problem, dtype: dtype_unsupported(depthwise_part(problem), dtype),
        float32_sums=False,
        source=sources[1],
        needs_factors=True,
        transposed=False,
    )
    return dense, separable
