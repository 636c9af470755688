"""Small convolution problems for hypothesis, possible by construction."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from convsweep.problems.problem import ConvProblem


@st.composite
def conv_problems(
    draw: st.DrawFn,
    *,
    max_channels: int = 6,
    ranks: Sequence[int] = (1, 2, 3),
    max_batch: int = 2,
    max_kernel: int = 3,
    max_stride: int = 3,
    max_padding: int = 2,
    max_dilation: int = 2,
    max_extra: int = 4,
    grouped: bool = True,
    biased: bool = True,
) -> ConvProblem:
    """A problem whose input is up to `max_extra` longer than the least that its kernel fits."""
    rank = draw(st.sampled_from(ranks))
    groups = draw(st.integers(1, max_channels)) if grouped else 1

    def channels() -> int:
        return groups * draw(st.integers(1, max_channels // groups))

    def each(least: int, most: int) -> tuple[int, ...]:
        return draw(st.tuples(*[st.integers(least, most)] * rank))

    kernel_size, dilation = each(1, max_kernel), each(1, max_dilation)
    padding = each(0, max_padding)
    shortest = (
        max(1, d * (k - 1) + 1 - 2 * p)
        for k, d, p in zip(kernel_size, dilation, padding, strict=True)
    )
    return ConvProblem(
        in_channels=channels(),
        out_channels=channels(),
        input_size=tuple(
            least + extra for least, extra in zip(shortest, each(0, max_extra), strict=True)
        ),
        kernel_size=kernel_size,
        batch_size=draw(st.integers(1, max_batch)),
        stride=each(1, max_stride),
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()) if biased else False,
    )


@st.composite
def odd_problems(draw: st.DrawFn, **limits: Any) -> ConvProblem:
    """A transposed convolution, or a problem whose padding differs at both ends."""
    plain = draw(conv_problems(**limits))
    if draw(st.booleans()):
        behind = draw(st.tuples(*[st.integers(0, 2)] * plain.rank))
        lacking = (max(0, p - end) for p, end in zip(plain.padding, behind, strict=True))
        size = tuple(map(sum, zip(plain.input_size, lacking, strict=True)))
        return replace(plain, input_size=size, padding_end=behind)
    padding = tuple(min(p, span - 1) for p, span in zip(plain.padding, plain.span, strict=True))
    steps = map(max, plain.stride, plain.dilation)
    return replace(
        plain,
        input_size=tuple(map(sum, zip(plain.input_size, padding, strict=True))),
        padding=padding,
        padding_end=padding,
        transposed=True,
        output_padding=draw(st.tuples(*[st.integers(0, step - 1) for step in steps])),
    )
