"""PyTorch's convolution under `torch.autocast`: float32 tensors, products in bfloat16."""

from convsweep.backends.base import TORCH, Backend, Conv, Tensor, Weights, library_bound
from convsweep.problems.problem import ConvProblem


def prepare(problem: ConvProblem, weights: Weights) -> Conv:
    """Cast input and weight in every call, and the output back to float32.

    Autocast keeps the cast of a weight that needs a gradient only to the end of its context, which
    users open once per forward pass: a layer casts its weight once per pass, in inference and in
    training. So every call opens a context of its own, without that cache, which takes about 3 us.
    In a network the next convolution takes the bfloat16 output: no cast is needed between them.
    """
    import torch

    from convsweep.backends.tensor_layout import bind_weights

    convolve = bind_weights(problem, weights)

    def conv(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            y = convolve(x)
        return y.to(x.dtype)

    return conv


BACKEND = Backend(
    name="torch_conv_autocast",
    prepare=prepare,
    error_bound=library_bound,
    float32_sums=True,
    computes_in="bfloat16",
    source="torch.autocast(dtype=torch.bfloat16)",
    version=TORCH,
    direct=False,
    device_types=("cpu", "cuda"),
    dtypes=("float32",),
)
