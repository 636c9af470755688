"""The operators and primitives of gradients are named, without those of autograd itself."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d, conv2d, conv3d

from convsweep.backends.base import Implementation
from convsweep.measure.trace import Operator, TracedCall, summarize, trace
from convsweep.problems.onednn_log import Primitive
from convsweep.system.devices import find_device

CPU = find_device("cpu")
HOST = "aten::convolution_backward"


def primitive(implementation: str, seconds: float) -> Primitive:
    return Primitive("convolution", implementation, "", "", seconds)


@pytest.mark.parametrize("wanted", ["x", "weight", "both"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 16])
def test_gradients_of_every_kind_have_a_name(wanted: str, rank: int, groups: int) -> None:
    x = torch.ones(1, 16, *[7] * rank, requires_grad=wanted != "weight")
    weight = torch.ones(16, 16 // groups, *[3] * rank, requires_grad=wanted != "x")
    y = {1: conv1d, 2: conv2d, 3: conv3d}[rank](x, weight, groups=groups)
    leaves = [leaf for leaf in (x, weight) if leaf.requires_grad]

    def gradients(x: Tensor) -> Tensor:
        return torch.autograd.grad(y, leaves, y.detach(), retain_graph=True)[0]

    found = trace(gradients, x, 1e-4, CPU)
    assert not found.reason
    assert "conv" in found.name
    assert "backward" in found.name
    assert "autograd" not in found.name
    assert "Backward0" not in found.name
    assert (found.kernel_s is None) == (found.reorders is None)


def test_a_gather_is_named_by_its_gradient() -> None:
    x = torch.ones(1, 4, 9, requires_grad=True)
    y = torch.nn.functional.pad(x, (1, 1)).unfold(2, 3, 1) * 2

    def gradients(x: Tensor) -> Tensor:
        return torch.autograd.grad(y, x, torch.ones_like(y), retain_graph=True)[0]

    names = trace(gradients, x, 1e-4, CPU).name.split(" + ")
    assert "aten::unfold_backward" in names
    assert not {"aten::arange", "aten::select_backward"} & {*names}


def test_the_time_of_onednn_replaces_that_of_the_operator_that_calls_it() -> None:
    both = [primitive("jit:any:backward_data", 2.0), primitive("jit:any:backward_weights", 3.0)]
    found = summarize([TracedCall([Operator(HOST, 9.0)], both, [])], on_cpu=True)
    name = f"{HOST} + jit:any:backward_data + jit:any:backward_weights"
    assert found == Implementation(name, 0, 5.0, 0.0)


def test_without_onednn_the_operator_computes_itself() -> None:
    found = summarize([TracedCall([Operator(HOST, 9.0)], [], [])], on_cpu=True)
    assert found == Implementation(HOST, 0, 9.0, 0.0)


def test_of_two_operators_that_share_one_primitive_the_times_are_unknown() -> None:
    call = TracedCall([Operator(HOST, 9.0)] * 2, [primitive("jit:any:backward_data", 2.0)], [])
    found = summarize([call], on_cpu=True)
    assert found == Implementation(f"{HOST} + jit:any:backward_data")
