"""Own CPU kernels, compiled by Numba at the first call."""

import math
from typing import Any

from convsweep.backends.base import Backend, factored_sum_bound, imported_late, matrix_unsupported
from convsweep.backends.blocks import fusing_relu
from convsweep.backends.kernels import winograd_tiles
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import not_separable_reason, separable_macs, separable_min_bytes


def depthwise_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not a 1-D or 2-D depthwise layer with one kernel per channel."""
    if problem.rank > 2:
        return f"needs 1 or 2 spatial dimensions, not {problem.rank}"
    if not problem.is_depthwise or problem.out_channels != problem.in_channels:
        return "needs groups = in_channels = out_channels, more than 1"
    return None


def direct_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not a 2-D convolution of one group."""
    is_plain = problem.rank == 2 and problem.groups == 1
    return None if is_plain else "needs 2 spatial dimensions, groups=1"


def separable_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not a 2-D convolution with a separable weight."""
    return "needs 2 spatial dimensions" if problem.rank != 2 else not_separable_reason(problem)


def fused_min_bytes(problem: ConvProblem, itemsize: int) -> int:
    """Return the bytes of both parts, without the intermediate result, which stays in the cache."""
    between = problem.batch_size * problem.in_channels * math.prod(problem.output_size)
    return separable_min_bytes(problem, itemsize) - 2 * itemsize * between


def winograd_unsupported(problem: ConvProblem) -> str | None:
    """Return why a problem is not 2-D, 3x3, at stride 1, or has taps that meet padding only.

    The transforms mix all taps. A tap that meets no pixel would leave rounding errors in an output
    whose error bound is zero.
    """
    taps = {*zip(problem.kernel_size, problem.stride, problem.dilation, strict=True)}
    if problem.rank != 2 or taps != {(3, 1, 1)} or problem.groups != 1:
        return "needs 2 spatial dimensions, kernel_size 3, stride 1, dilation 1, groups=1"
    if (1, 1) in zip(problem.input_size, problem.padding, strict=True):
        return "needs at least 2 pixels along each side that has padding 1"
    return None


def _kernel_backend(name: str, kernel: str, **more: Any) -> Backend:
    """Return the backend of a module with a kernel; `more` are further fields."""
    prepare = imported_late(f"kernels.{kernel}", "prepare")
    fields: dict[str, Any] = {"prepare_block": fusing_relu(prepare), **more}
    return Backend(
        name,
        prepare,
        device_types=("cpu",),
        dtypes=("float32",),
        family="kernels",
        modules=("numba",),
        extra="numba",
        compile_s=120.0,
        **fields,
    )


BACKENDS = (
    _kernel_backend(
        "depthwise_numba",
        "depthwise",
        unsupported=depthwise_unsupported,
        own_padding_end=True,
        source="own kernel; after Zhang, Lo & Lu (2020), High Performance Depthwise and Pointwise "
        "Convolutions on Mobile Devices",
    ),
    _kernel_backend(
        "direct_numba",
        "direct",
        unsupported=direct_unsupported,
        source="Anderson et al. 2017, Low-memory GEMM-based convolution algorithms for deep neural "
        "networks; Georganas et al. 2018, Anatomy of High-Performance Deep Learning Convolutions",
    ),
    _kernel_backend(
        "pointwise_numba",
        "pointwise",
        unsupported=matrix_unsupported,
        source="Lin, Chen & Yan 2013, Network In Network; Goto & van de Geijn 2008, Anatomy of "
        "High-Performance Matrix Multiplication",
    ),
    _kernel_backend(
        "separable_numba",
        "separable",
        prepare_block=imported_late("kernels.separable", "prepare_block"),
        unsupported=separable_unsupported,
        macs=separable_macs,
        min_bytes=fused_min_bytes,
        error_bound=factored_sum_bound,
        source="Howard et al. 2017, MobileNets; Zhang, Lo & Lu 2020, High Performance Depthwise "
        "and Pointwise Convolutions on Mobile Devices",
        needs_factors=True,
    ),
    _kernel_backend(
        "winograd_numba",
        "winograd",
        unsupported=winograd_unsupported,
        macs=winograd_tiles.macs,
        min_bytes=winograd_tiles.min_bytes,
        error_bound=winograd_tiles.error_bound,
        source="Lavin & Gray 2016, Fast Algorithms for Convolutional Neural Networks",
        direct=False,
    ),
)
