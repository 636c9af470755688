"""oneDNN with weights reordered once in `prepare`; torch_conv reorders them at every call."""

import torch

from convsweep.backends.engines import onednn
from convsweep.backends.engines.graph import dense_and_separable

BACKENDS = dense_and_separable(
    ("torch_prepacked", "separable_prepacked"),
    onednn.convolution,
    sources=(
        "oneDNN by torch.ops.mkldnn and torch.ops.mkldnn_prepacked",
        "oneDNN by torch.ops.mkldnn; Howard et al. 2017, MobileNets",
    ),
    unsupported=onednn.unsupported,
    version=f"torch {torch.__version__}",
)
