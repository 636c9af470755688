"""OpenVINO, whose CPU plugin contains a oneDNN of its own."""

from convsweep.backends.base import imported_late
from convsweep.backends.engines.graph import dense_and_separable

BACKENDS = dense_and_separable(
    ("openvino", "separable_openvino"),
    imported_late("engines.openvino"),
    sources=("OpenVINO, CPU plugin", "OpenVINO, CPU plugin; Howard et al. 2017, MobileNets"),
    dtypes=("float32", "bfloat16", "float16"),
    dtype_unsupported=imported_late("engines.openvino", "dtype_unsupported"),
    modules=("openvino",),
    extra="openvino",
    transposed=True,
    own_threads=True,
    int8_source="OpenVINO, CPU plugin, FakeQuantize and weights in int8",
)
