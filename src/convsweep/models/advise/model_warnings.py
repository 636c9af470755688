"""Properties of a model that make its own time differ from that of its measured layers."""

import torch
from torch import Tensor, nn

from convsweep.formatting import one_line, percent
from convsweep.problems.user_code import is_compiled, own_name

_LEAST_SHARE = 0.01
_WITH_DENORMALS = (torch.float32, torch.float64, torch.bfloat16)  # float16 is widened first
_LEAST_DIMENSIONS = 3  # of a convolution's weight


def model_warnings(model: nn.Module) -> list[str]:
    """Return a sentence per layer with denormal weights, and one if the model is compiled."""
    shares: dict[str, float] = {}
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        owner = own_name(name.rpartition(".")[0]).removesuffix("parametrizations.weight")
        layer = one_line(owner.removesuffix(".")) or type(model).__name__
        shares[layer] = max(_denormal_share(weight), shares.get(layer, 0.0))
    found = [
        f"WARNING: {percent(share)} of the weights of {layer} are denormal, which can make it "
        "many times slower than measured. torch.set_flush_denormal(True) may avoid it."
        for layer, share in shares.items()
        if share > _LEAST_SHARE
    ]
    compiled = ["The model is compiled by torch.compile. It is measured uncompiled."]
    return found + compiled * is_compiled(model)


def _denormal_share(weight: Tensor) -> float:
    """Return the share of numbers below the smallest normal one; 0 if it cannot be counted."""
    if weight.dtype not in _WITH_DENORMALS or weight.device.type == "meta":
        return 0.0
    if nn.parameter.is_lazy(weight) or weight.dim() < _LEAST_DIMENSIONS or not weight.numel():
        return 0.0
    size = weight.detach().to_dense().abs()
    denormal = (size > 0) & (size < torch.finfo(weight.dtype).tiny)
    return int(denormal.count_nonzero()) / weight.numel()
