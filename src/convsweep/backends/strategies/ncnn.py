"""ncnn, which chooses Winograd or matrix products per layer."""

from convsweep.backends.engines import ncnn
from convsweep.backends.engines.graph import dense_and_separable

BACKENDS = dense_and_separable(
    ("ncnn", "separable_ncnn"),
    ncnn.convolution,
    sources=(
        "ncnn, layers Convolution and ConvolutionDepthWise",
        "ncnn, two layers; Howard et al. 2017, MobileNets",
    ),
    unsupported=ncnn.unsupported,
    modules=("ncnn",),
    extra="ncnn",
    own_threads=True,
)
