"""oneDNN with weights reordered once in `prepare`; torch_conv reorders them at every call."""

from convsweep.backends.base import TORCH, imported_late
from convsweep.backends.engines.graph import dense_and_separable

BACKENDS = dense_and_separable(
    ("torch_prepacked", "separable_prepacked"),
    imported_late("engines.onednn"),
    sources=(
        "oneDNN by torch.ops.mkldnn and torch.ops.mkldnn_prepacked",
        "oneDNN by torch.ops.mkldnn; Howard et al. 2017, MobileNets",
    ),
    unsupported=imported_late("engines.onednn", "unsupported"),
    own_padding_end=False,
    dtypes=("float32", "bfloat16", "float16"),
    dtype_unsupported=imported_late("engines.onednn", "dtype_unsupported"),
    version=TORCH,
)
