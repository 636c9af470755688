"""What a call runs is found for every kind of convolution, and never costs the case its result."""

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.autograd.profiler import profile
from torch.nn.functional import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)

from convsweep.backends.base import Implementation, tells
from convsweep.measure import trace as tracing
from convsweep.measure.trace import TracedCall, kernel_name, record, summarize, trace
from convsweep.problems.onednn_log import Primitive
from convsweep.system.devices import find_device

CPU = find_device("cpu")
KINDS: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1-D": (conv1d, (1, 4, 20), (4, 4, 3), {}),
    "2-D": (conv2d, (1, 8, 12, 12), (8, 8, 3, 3), {"padding": 1}),
    "3-D": (conv3d, (1, 4, 5, 5, 5), (4, 4, 3, 3, 3), {}),
    "depthwise": (conv2d, (1, 8, 24, 24), (8, 1, 3, 3), {"groups": 8}),
    "depthwise 3-D": (conv3d, (1, 4, 6, 6, 6), (4, 1, 3, 3, 3), {"groups": 4}),
    "grouped": (conv2d, (1, 8, 24, 24), (8, 2, 3, 3), {"groups": 4}),
    "dilated": (conv2d, (1, 4, 12, 12), (4, 4, 3, 3), {"dilation": 2}),
    "with bias": (conv2d, (1, 4, 12, 12), (4, 4, 3, 3), {"bias": torch.ones(4)}),
    "large": (conv2d, (2, 32, 28, 28), (32, 32, 3, 3), {}),
}
TRANSPOSED = {
    1: (conv_transpose1d, (1, 4, 20), (4, 4, 3)),
    2: (conv_transpose2d, (1, 8, 8, 8), (8, 8, 3, 3)),
    3: (conv_transpose3d, (1, 4, 5, 5, 5), (4, 4, 3, 3, 3)),
}
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "float32": lambda x: x,
    "float64": lambda x: x.double(),
    "bfloat16": lambda x: x.bfloat16(),
    "transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "channels last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
}


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("rank", TRANSPOSED)
def test_a_bias_of_a_transposed_convolution_hides_no_operator(rank: int) -> None:
    conv, input_shape, weight_shape = TRANSPOSED[rank]
    x, weight, bias = torch.ones(input_shape), torch.ones(weight_shape), torch.ones(weight_shape[1])
    plain, biased = (trace(lambda x, b=b: conv(x, weight, b), x, 1e-4, CPU) for b in (None, bias))
    assert "conv" in plain.name
    assert {*plain.name.split(" + ")} <= {*biased.name.split(" + ")}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_convolution_has_a_name_and_times(kind: str, change: str) -> None:
    conv, input_shape, weight_shape, options = KINDS[kind]
    x = CHANGES[change](torch.ones(input_shape))
    own = {k: v.to(x.dtype) if isinstance(v, Tensor) else v for k, v in options.items()}
    weight = torch.ones(weight_shape, dtype=x.dtype)
    found = trace(lambda x: conv(x, weight, **own), x, 1e-4, CPU)
    assert "conv" in found.name, found
    assert not found.reason
    assert found.reorders is not None
    assert found.reorders >= 0
    assert found.kernel_s is not None
    assert found.kernel_s > 0
    assert found.reorder_s is not None
    assert found.reorder_s >= 0
    assert (found.reorder_s > 0) <= (found.reorders > 0)
    assert not any(word in found.name for word in ("view", "empty", "copy", "aten::convolution"))
    again = trace(lambda x: conv(x, weight, **own), x, 1e-4, CPU)
    assert (again.name, again.reorders) == (found.name, found.reorders)


@pytest.mark.parametrize("threads", [1, 2])
def test_several_operators_are_named_once_each_in_their_order(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = trace(lambda x: (x @ x).exp() @ x, torch.ones(64, 64), 1e-5, CPU)
    finally:
        torch.set_num_threads(before)
    assert found.name.split(" + ")[:2] == ["aten::mm", "aten::exp"]
    assert found.reorders == 0


def test_copies_are_counted_and_named_only_alone() -> None:
    x = torch.ones(1, 4, 8, 8)
    padded = trace(lambda x: torch.nn.functional.pad(x, (1, 1)), x, 1e-5, CPU)
    assert padded.reorders == 2  # fills, then copies
    assert "copy_" in padded.name
    assert padded.kernel_s == 0
    product = trace(lambda x: x.transpose(2, 3).contiguous() * x, x, 1e-5, CPU)
    assert (product.name, product.reorders) == ("aten::mul", 1)


def test_a_function_that_tells_is_not_traced() -> None:
    told = Implementation("own kernel", 3)

    def conv(x: Tensor) -> Tensor:
        raise AssertionError("called")

    assert trace(tells(conv, lambda x: told), torch.ones(1), 1e-5, CPU) is told


def test_without_an_operator_there_is_a_reason() -> None:
    found = trace(lambda x: x, torch.ones(1), 1e-5, CPU)
    assert (found.name, found.reorders, found.kernel_s, found.reorder_s) == ("", None, None, None)
    assert found.reason


def test_a_convolution_that_prints_is_traced_and_its_text_is_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def conv(x: Tensor) -> Tensor:
        os.write(1, b"onednn_verbose,v1,primitive,exec,cpu\nconvsweep_call, half a line")
        return x * 2

    found = trace(conv, torch.ones(4), 1e-5, CPU)
    assert (found.name, found.reason) == ("aten::mul", "")
    assert capfd.readouterr() == ("", "")


def test_an_error_becomes_the_reason_and_the_profiler_ends() -> None:
    def conv(x: Tensor) -> Tensor:
        raise ValueError("no such tile")

    assert "no such tile" in trace(conv, torch.ones(1), 1e-5, CPU).reason
    assert trace(lambda x: x * 2, torch.ones(1), 1e-5, CPU).name == "aten::mul"


def test_another_profiler_goes_on() -> None:
    with profile(use_kineto=True) as others:
        found = trace(lambda x: x * 2, torch.ones(1), 1e-5, CPU)
        torch.ones(1).exp()
    assert "profiler" in found.reason
    assert "aten::exp" in [event.name for event in others.function_events]


def test_pytorch_without_onednn_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    x, weight = torch.ones(1, 8, 24, 24), torch.ones(8, 1, 3, 3)
    found = trace(lambda x: conv2d(x, weight, groups=8), x, 1e-4, CPU)
    assert "conv" in found.name
    assert ("mkldnn" in found.name) == (found.kernel_s is None)


def test_slow_calls_are_made_once() -> None:
    calls: list[Tensor] = []
    trace(lambda x: calls.append(x) or x * 2, torch.ones(1), 2.0, CPU)  # type: ignore[func-returns-value]
    assert len(calls) == 1


def primitive(kind: str, implementation: str, seconds: float) -> Primitive:
    return Primitive(kind, implementation, "", "", seconds)


def operator(name: str, seconds: float) -> tracing.Operator:
    return tracing.Operator(name, seconds)


def test_the_time_of_onednn_replaces_that_of_its_operator() -> None:
    call = TracedCall(
        [operator("aten::mkldnn_convolution", 9.0), operator("aten::mul", 2.0)],
        [primitive("reorder", "jit:uni", 0.5), primitive("convolution", "jit_dw:any", 4.0)],
        [],
    )
    found = summarize([call], on_cpu=True)
    assert found == Implementation("aten::mkldnn_convolution + aten::mul + jit_dw:any", 1, 6.0, 0.5)


def test_products_by_onednn_and_by_another_library_are_told_apart() -> None:
    one, other = operator("aten::bmm", 3.0), operator("aten::mm", 5.0)
    matmul = primitive("matmul", "brg:any", 2.0)
    assert summarize([TracedCall([one], [matmul], [])], on_cpu=True).kernel_s == 2.0
    assert summarize([TracedCall([one, other], [matmul], [])], on_cpu=True).kernel_s == 8.0


def test_times_are_means_of_the_middle_calls() -> None:
    times = (100.0, 3.0, 1.0, 2.0, 0.0)
    calls = [TracedCall([operator("aten::mm", seconds)], [], []) for seconds in times]
    assert summarize(calls, on_cpu=True).kernel_s == 2.0


def tree_event(name: str, start: int, end: int, *children: Any) -> Any:
    """Return an event of a profiler's tree, as PyTorch's binding shows it."""
    return SimpleNamespace(
        name=name, start_time_ns=start, end_time_ns=end, duration_time_ns=end - start,
        tag=SimpleNamespace(name="TorchOp"), children=children,
    )  # fmt: skip


def device_event(name: str, start: int, seconds: int, kind: str = "CUDA") -> Any:
    """Return an event of a profiler's list."""
    kinds = SimpleNamespace(name=kind)
    values = {"name": name, "start_ns": start, "duration_ns": seconds, "device_type": kinds}
    return SimpleNamespace(**{key: partial(lambda value: value, v) for key, v in values.items()})


GEMM = "void cutlass::Kernel2<cutlass_80_simt_sgemm_128x64>(cutlass_80_simt_sgemm_128x64::Params)"
COPY = (
    "void at::native::elementwise_kernel<128, 4, at::native::direct_copy_kernel_cuda"
    "(at::TensorIteratorBase&)::{lambda()#3}>(int, at::native::direct_copy)"
)


class FakeProfiler(nullcontext[None]):
    """Profiler on a machine with CUDA: calls with two copies and a kernel each."""

    calls: ClassVar[int]

    def __init__(self, **options: Any) -> None:
        super().__init__()
        assert options["use_device"] == "cuda"
        starts = range(0, 100 * self.calls, 100)
        trees = [
            tree_event("convsweep_call", start, start + 90, tree_event(
                "aten::cudnn_convolution", start, start + 50,
                tree_event("aten::copy_", start, start + 20),
            ))
            for start in starts
        ]  # fmt: skip
        events = [device_event("convsweep_call", 0, 90)]
        for start in starts:
            events += [
                device_event("cudaLaunchKernel", start + 8, 2, "CPU"),
                device_event(COPY, start + 10, 10),
                device_event(GEMM, start + 20, 40),
                device_event("Memcpy DtoD (Device -> Device)", start + 60, 5),
            ]
        self.kineto_results = SimpleNamespace(
            experimental_event_tree=lambda: trees, events=lambda: events
        )


@pytest.mark.parametrize(("calls", "discarded"), [(1, 0), (2, 2), (9, 3)])
def test_kernels_of_an_accelerator_are_named_and_timed(
    calls: int, discarded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "profile", FakeProfiler)
    device = replace(CPU, name="cuda", profiled_as="cuda")

    monkeypatch.setattr(FakeProfiler, "calls", calls + discarded, raising=False)
    recorded = record(lambda: None, calls, device)
    assert len(recorded) == calls
    found = summarize(recorded, on_cpu=False)
    assert found.name == "aten::cudnn_convolution + cutlass_80_simt_sgemm_128x64"
    assert found.reorders == 2
    assert found.kernel_s == pytest.approx(40e-9)
    assert found.reorder_s == pytest.approx(15e-9)


def test_a_device_without_profiler_has_operators_alone() -> None:
    call = TracedCall([operator("aten::convolution_overrideable", 1.0)], [], [])
    found = summarize([call], on_cpu=False)
    assert found == Implementation("aten::convolution_overrideable")


@pytest.mark.parametrize(
    ("signature", "name"),
    [
        (GEMM, "cutlass_80_simt_sgemm_128x64"),
        (COPY, "at::native::elementwise_kernel"),
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_nhwckrsc", None),
        ("void (anonymous namespace)::conv_depthwise2d_forward_kernel<3, float>(int)",
         "conv_depthwise2d_forward_kernel"),
        ("jit_dw:avx512_core", None),
    ],
)  # fmt: skip
def test_names_of_kernels_are_without_templates(signature: str, name: str | None) -> None:
    assert kernel_name(signature) == (name or signature)


@pytest.mark.device
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_cuda_names_its_kernels() -> None:
    device = find_device("cuda")
    x, weight = torch.ones(1, 8, 24, 24, device="cuda"), torch.ones(8, 8, 3, 3, device="cuda")
    found = trace(lambda x: conv2d(x, weight), x, 1e-4, device)
    assert "cudnn" in found.name
    assert found.kernel_s
