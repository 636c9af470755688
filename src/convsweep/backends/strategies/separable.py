"""Depthwise-separable layer: a depthwise, then a 1x1 convolution (Howard et al. 2017).

The first has one kernel per input channel, the second sums over channels at each pixel. Together
they take 1 / C_out + 1 / taps of the MACs of a standard convolution.
"""

from functools import partial

from convsweep.backends.base import Backend, Conv, Weights, factored_sum_bound, imported_late
from convsweep.backends.blocks import layer_by_layer
from convsweep.backends.steps import step
from convsweep.problems import separable
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Use the two factors of the weight instead of the weight."""
    from convsweep.backends.tensor_layout import CONV_BY_RANK, bind_conv

    assert weights.factors is not None
    depthwise, pointwise = weights.factors  # (C_in, 1, *kernel_size), (C_out, C_in, 1, ...)
    each_channel = step("depthwise")(bind_conv(separable.depthwise_part(problem), depthwise, None))
    across_channels = step("pointwise")(
        partial(CONV_BY_RANK[problem.rank], weight=pointwise, bias=weights.bias)
    )
    # (N, C_in, *input_size) -> (N, C_in, *output_size) -> (N, C_out, *output_size)
    return lambda x: across_channels(each_channel(x))


BACKEND = Backend(
    name="separable",
    prepare=prepare,
    unsupported=separable.not_separable_reason,
    macs=separable.separable_macs,
    min_bytes=separable.separable_min_bytes,
    error_bound=factored_sum_bound,
    source="Howard et al. 2017, MobileNets; Sifre 2014",
    needs_factors=True,
    prepare_block=partial(layer_by_layer, imported_late("tensor_layout", "bind_weights")),
)
