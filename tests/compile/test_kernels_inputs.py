"""Inputs of kernels: any layout is accepted, other shapes are refused, threads are independent."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import convsweep
from convsweep import Backend, ConvProblem
from convsweep.measure.inputs import Inputs, make_inputs
from convsweep.measure.reference import compute_reference
from tests.support.kernel_checks import guarded_weights, threads_are_independent, wrong_inputs
from tests.support.red_zones import guarded, red_zones

compiling = pytest.importorskip(
    "convsweep.backends.kernels.compiling", reason="needs the extra numba"
)

DENSE = ConvProblem(9, 20, (9, 11), 3, batch_size=2, padding=1, bias=True)
DEPTHWISE = ConvProblem(17, 17, (9, 11), 3, batch_size=2, padding=1, groups=17, bias=True)
POINTWISE = ConvProblem(9, 20, (9, 11), 1, batch_size=2, bias=True)
KERNELS = [
    backend
    for backend in convsweep.list_backends().values()
    if backend.family == "kernels" and "cpu" in (backend.device_types or ())
]

every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)


def given_to(kernel: Backend) -> tuple[ConvProblem, Inputs]:
    problem = next(p for p in (DENSE, DEPTHWISE, POINTWISE) if kernel.unsupported(p) is None)
    kind = "separable" if kernel.needs_factors else "dense"
    return problem, make_inputs(problem, weight_kind=kind)


def views(x: Tensor) -> Iterator[Tensor]:
    """Tensors that lie otherwise than PyTorch's own, among what is not a number."""
    nothing, one = torch.full_like(x, torch.nan), x.new_full((1,), torch.nan)
    pixels = x.movedim(1, -1)
    yield torch.cat((one, x.flatten()))[1:].view_as(x)
    yield torch.cat((one, pixels.flatten()))[1:].view_as(pixels).movedim(-1, 1)
    yield torch.stack((x, nothing), -1)[..., 0]
    yield torch.stack((x, nothing), 1)[:, 0]
    yield torch.stack((pixels, nothing.movedim(1, -1)), 1)[:, 0].movedim(-1, 1)
    yield torch.cat((nothing, x), 1)[:, x.shape[1] :]
    yield torch.cat((nothing.movedim(1, -1), pixels), -1)[..., x.shape[1] :].movedim(-1, 1)
    yield torch.nn.functional.pad(x, (3, 2, 1, 2), value=torch.nan)[..., 1:-2, 3:-2]
    yield x.transpose(2, 3).contiguous().transpose(2, 3)
    yield x.transpose(0, 1).contiguous().transpose(0, 1)
    for dim in range(x.dim()):
        yield x.narrow(dim, 0, 1).expand_as(x)


@every_kernel
def test_an_input_may_lie_anyhow(kernel: Backend) -> None:
    problem, inputs = given_to(kernel)
    with red_zones():
        conv = kernel.prepare(problem, guarded_weights(inputs.weights))
        for x in views(inputs.x):
            before = x.clone()
            assert torch.allclose(conv(x), conv(guarded(x.contiguous())), atol=1e-4)
            assert torch.equal(x, before)


@every_kernel
def test_inputs_not_prepared_for_are_refused(kernel: Backend) -> None:
    problem, inputs = given_to(kernel)
    conv = kernel.prepare(problem, inputs.weights)
    for x in wrong_inputs(inputs.x):
        with pytest.raises(ValueError, match=r"^x must be \(2, .*\) in torch.float32.*not .*$"):
            conv(x)


@every_kernel
def test_threads_of_python_do_not_meet(kernel: Backend) -> None:
    problem, inputs = given_to(kernel)
    assert threads_are_independent(kernel.prepare(problem, inputs.weights), inputs)


@every_kernel
def test_preparing_asks_for_no_machine_code(
    kernel: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile(entry: object) -> int:
        raise AssertionError("compiled before the first call")

    problem, inputs = given_to(kernel)
    monkeypatch.setattr(compiling.Entry, "address", property(compile))
    assert callable(kernel.prepare(problem, inputs.weights))


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_call_asks_for_the_machine_code_of_its_own_layout(
    memory_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(DEPTHWISE, memory_format=memory_format)
    conv = convsweep.list_backends()["depthwise_numba"].prepare(DEPTHWISE, inputs.weights)
    asked: list[object] = []
    look_up = compiling.Entry.address.func

    def address(entry: object) -> int:
        asked.append(entry)
        found: int = look_up(entry)
        return found

    monkeypatch.setattr(compiling.Entry, "address", property(address))
    y = conv(inputs.x)
    assert len(asked) == 1
    assert torch.allclose(y.double(), compute_reference(DEPTHWISE, inputs).y, atol=1e-4)
