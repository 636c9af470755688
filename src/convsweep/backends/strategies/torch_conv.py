"""PyTorch's own convolution: its library chooses the algorithm."""

from convsweep.backends.base import TORCH, Backend, imported_late, library_bound

prepare = imported_late("tensor_layout", "bind_weights")
"""Binds the weights; PyTorch prepares nothing in advance."""

BACKEND = Backend(
    name="torch_conv",
    prepare=prepare,
    error_bound=library_bound,
    float32_sums=True,
    source="torch.nn.functional.conv1d, conv2d, conv3d, conv_transpose1d, ...",
    version=TORCH,
    direct=False,
    transposed=True,
)
