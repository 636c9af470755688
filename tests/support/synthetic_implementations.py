"""Synthetic runs whose backend chooses its implementation by the problem, as torch does."""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from convsweep.problems.problem import ConvProblem
from convsweep.results.schema import Row
from tests.support.synthetic_runs import rows, square

CHANNELS, SIZES = (4, 8, 16, 32, 64, 128), (7, 14, 28, 56, 80)
KINDS: tuple[Callable[[int, int], ConvProblem], ...] = (
    lambda c, s: square(c, s, 3),
    lambda c, s: square(c, s, 1),
    lambda c, s: square(c, s, 3, groups=c),
    lambda c, s: square(c, s, 3, groups=2),
    lambda c, s: ConvProblem(c, c, (s, s), 3, padding=2, dilation=2),
)
ONEDNN = "aten::mkldnn_convolution + {}:avx2"


def chosen(problem: ConvProblem, memory_format: str) -> str | None:
    """Return the implementation: the library's own for few values or 1x1 kernels, else oneDNN's."""
    values = problem.batch_size * problem.in_channels * math.prod(problem.input_size)
    if problem.groups > 1:
        dense = "jit" if memory_format == "contiguous" else "brgconv"
        depthwise = "jit_dw" if memory_format == "contiguous" else "brdgmm_dw"
        return ONEDNN.format(depthwise if problem.is_depthwise else dense)
    if problem.is_pointwise or values <= 20_480:
        dilated = max(problem.dilation) > 1
        return "aten::slow_conv_dilated2d" if dilated else "aten::_slow_conv2d_forward"
    return ONEDNN.format("jit" if memory_format == "contiguous" else "brgconv")


def problems() -> list[ConvProblem]:
    """Return all kinds of layers over channels and sizes."""
    return [kind(c, s) for kind in KINDS for c in CHANNELS for s in SIZES]


def implementation_rows(
    of: Iterable[ConvProblem] | None = None,
    *,
    choose: Callable[[ConvProblem, str], str | None] = chosen,
    formats: Iterable[str] = ("contiguous",),
    backends: Iterable[str] = ("torch_conv",),
    passes: int = 2,
) -> list[Row]:
    """Return the rows of a run; only the first pass is traced."""
    made = rows(problems() if of is None else of, backends=backends, passes=passes)
    return [
        replace(
            row,
            memory_format=form,
            backend_version="torch 2.13.0+cpu",
            implementation=name,
            reorders=None if name is None else 3 * ("jit" in name),
        )
        for form in formats
        for row in made
        for problem in [ConvProblem.parse(row.problem)]
        for name in [None if row.pass_index else choose(problem, form)]
    ]
