"""ncnn, which chooses Winograd or matrix products per layer."""

from convsweep.backends.base import imported_late
from convsweep.backends.engines.graph import dense_and_separable

BACKENDS = dense_and_separable(
    ("ncnn", "separable_ncnn"),
    imported_late("engines.ncnn"),
    sources=(
        "ncnn, layers Convolution and ConvolutionDepthWise",
        "ncnn, two layers; Howard et al. 2017, MobileNets",
    ),
    unsupported=imported_late("engines.ncnn", "unsupported"),
    dtypes=("float32", "bfloat16"),
    dtype_unsupported=imported_late("engines.ncnn", "dtype_unsupported"),
    modules=("ncnn",),
    extra="ncnn",
    own_threads=True,
)
