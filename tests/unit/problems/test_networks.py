"""Networks as modules: what they execute is their workload, and what each call takes is noted."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from convsweep.measure import network_timing
from convsweep.measure.messages import NetworkTimes, TimeNetwork
from convsweep.measure.network_timing import time_network
from convsweep.problems.conv_call import convolution_problem
from convsweep.problems.networks import BUILDERS, build
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import IMAGE, workloads
from convsweep.results.networks import CONVOLUTION, OTHER
from tests.support.strategies import conv_problems

# Parameters of the whole network, classifier and batch norms included: torchvision's models of
# these names, and Howard et al. 2017, Table 4, in millions.
PARAMETERS = {
    "mobilenetv2_100": 3_504_872,
    "vgg16": 138_357_544,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenetv1_100": pytest.approx(4.2e6, rel=0.01),
    "mobilenetv1_100_standard": pytest.approx(29.3e6, rel=0.01),
}
CONVOLVE: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}


def without_numbers(name: str) -> nn.Module:
    with torch.device("meta"):
        return BUILDERS[name]().eval()


def executed(module: nn.Module) -> Counter[ConvProblem]:
    """The problems of all convolution modules that one forward pass calls."""
    found: Counter[ConvProblem] = Counter()

    def note(conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(conv.padding, tuple)
        [x] = inputs
        found[
            ConvProblem(
                conv.in_channels,
                conv.out_channels,
                tuple(x.shape[2:]),
                conv.kernel_size,
                batch_size=x.shape[0],
                stride=conv.stride,
                padding=conv.padding,
                dilation=conv.dilation,
                groups=conv.groups,
                bias=conv.bias is not None,
            )
        ] += 1

    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(note)
    assert module(torch.empty(IMAGE, device="meta")).shape == (1, 1000)
    return found


@pytest.mark.parametrize("name", BUILDERS)
def test_a_network_executes_its_workloads_layers_as_often_as_they_count(name: str) -> None:
    rows = Counter({layer.problem: layer.count for layer in workloads()[name]})
    assert executed(without_numbers(name)) == rows


@pytest.mark.parametrize("name", BUILDERS)
def test_a_network_has_the_published_parameters(name: str) -> None:
    own = sum(p.numel() for p in without_numbers(name).parameters())
    assert own == PARAMETERS[name]


@pytest.mark.parametrize("name", BUILDERS)
def test_torch_counts_the_convolutions_of_a_network_as_its_workload_does(name: str) -> None:
    with FlopCounterMode(display=False) as counter:
        without_numbers(name)(torch.empty(IMAGE, device="meta"))
    by_operator = counter.get_flop_counts()["Global"]
    convolutions = sum(n for operator, n in by_operator.items() if "convolution" in str(operator))
    assert convolutions == sum(layer.count * layer.problem.flops for layer in workloads()[name])


def test_a_network_is_built_alike_each_time_and_keeps_the_size_of_what_flows_through() -> None:
    one, other = (build("mobilenetv1_100") for _ in range(2))
    assert not one.training
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = one(x)
        assert torch.equal(y, other(x))
    assert 1e-3 < float(y.abs().mean()) < 1e3


@settings(max_examples=60)
@given(conv_problems())
def test_the_problem_of_a_call_is_read_from_its_arguments(problem: ConvProblem) -> None:
    x, weight = (
        torch.empty(shape, device="meta") for shape in (problem.input_shape, problem.weight_shape)
    )
    bias = torch.empty(problem.out_channels, device="meta") if problem.bias else None
    p = problem
    found = convolution_problem(x, weight, bias, p.stride, p.padding, p.dilation, p.groups)
    assert found == problem
    named = convolution_problem(
        weight=weight, input=x, groups=p.groups, bias=bias, dilation=p.dilation, stride=p.stride,
        padding=p.padding,
    )  # fmt: skip
    assert named == problem


def test_padding_in_words_and_input_without_a_batch_are_read_too() -> None:
    x, weight = torch.empty(4, 9, 9, device="meta"), torch.empty(8, 4, 3, 3, device="meta")
    same = convolution_problem(x, weight, padding="same", dilation=(2, 1))
    assert same == ConvProblem(4, 8, (9, 9), 3, padding=(2, 1), dilation=(2, 1))
    assert convolution_problem(x, weight, padding="valid") == ConvProblem(4, 8, (9, 9), 3)
    with pytest.raises(ValueError, match="99x99"):
        convolution_problem(x, torch.empty(8, 4, 99, 99))


class Varied(nn.Module):
    """Functional calls, a module that is called twice, ranks 1 to 3, a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.signal = nn.Conv1d(4, 2, 3)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.shared(self.shared(x))))
        x = torch.conv2d(x, torch.ones(4, 1, 3, 3), groups=4)
        up = functional.conv_transpose2d(x, torch.ones(4, 4, 2, 2))
        signal = self.signal(up.flatten(2))
        volume = functional.conv3d(up[:, :, None], torch.ones(1, 4, 1, 1, 1))
        pooled = functional.max_pool2d(up, 2).mean((2, 3)) + signal.sum() + volume.sum()
        y: Tensor = self.last(pooled)
        return y


class Fickle(nn.Module):
    """Makes one call more each time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for _ in range(self.calls):
            x = torch.relu(x)
        return x


@pytest.fixture
def take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every piece of work takes one second more than the last."""
    ticks: Iterator[int] = count(1)

    def seconds(work: Callable[[], object]) -> float:
        work()
        return float(next(ticks))

    found = network_timing.find_device("cpu")
    monkeypatch.setattr(network_timing, "find_device", lambda name: found)
    object.__setattr__(found, "clock", seconds)
    monkeypatch.setattr(network_timing, "_MIN_ROUNDS", 3)


def times_of(
    monkeypatch: pytest.MonkeyPatch, module: nn.Module, shape: tuple[int, ...], **how: str
) -> NetworkTimes:
    monkeypatch.setattr(network_timing, "load_model", lambda spec: module)
    asked = {"device": "cpu", "dtype": "float32", "memory_format": "contiguous"} | how
    with torch.no_grad():
        return time_network(TimeNetwork("some:model", [shape], round_s=0.0, **asked))


def test_every_call_is_counted_once_under_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    found = times_of(monkeypatch, Varied(), (1, 4, 6, 6))
    counts = {(part.kind, part.problem): part.count for part in found.parts}
    convolutions = {problem: n for (kind, problem), n in counts.items() if kind == CONVOLUTION}
    assert convolutions == {
        ConvProblem(4, 4, (6, 6), 3, padding=1, bias=True): 2,
        ConvProblem(4, 4, (6, 6), 3, groups=4): 1,
        None: 1,  # transposed
        ConvProblem(4, 2, (25,), 3, bias=True): 1,
        ConvProblem(4, 1, (1, 5, 5), 1): 1,
    }
    kinds = Counter(part.kind for part in found.parts)
    assert {"batch norm", "activation", "pooling", "linear", OTHER} <= kinds.keys()
    assert found.calls == 2


def test_a_part_is_the_sum_of_its_calls(monkeypatch: pytest.MonkeyPatch, take_turns: None) -> None:
    monkeypatch.setattr(network_timing, "faster_half", lambda seconds: np.arange(len(seconds)))
    module = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 1), nn.ReLU())
    found = times_of(monkeypatch, module, (1, 2, 3, 3))
    # Three forward passes warm up; then the whole, a call that does nothing, and the three calls
    # take turns, tick by tick.
    whole, nothing = [4.0, 9.0, 14.0], 10.0
    assert found.whole_s == whole[1]
    seconds = {part.kind: part.total_s for part in found.parts}
    first, second, third = (
        np.mean([max(tick + turn - nothing, 1e-9) for turn in (0, 5, 10)]) for tick in (6, 7, 8)
    )
    assert seconds == {"activation": pytest.approx(first + third), CONVOLUTION: second}


def test_what_the_watch_reads_for_nothing_is_in_no_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def one_second(work: Callable[[], object]) -> float:
        work()
        return 1.0

    found = network_timing.find_device("cpu")
    monkeypatch.setattr(network_timing, "find_device", lambda name: found)
    object.__setattr__(found, "clock", one_second)
    parts = times_of(monkeypatch, nn.Conv2d(2, 2, 1), (1, 2, 3, 3)).parts
    assert 0 < sum(part.total_s for part in parts) < 1e-6


def test_a_network_that_changes_from_call_to_call_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="between forward passes"):
        times_of(monkeypatch, Fickle(), (1, 2))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_a_network_runs_in_the_dtype_and_layout_of_its_layers(
    monkeypatch: pytest.MonkeyPatch, dtype: str, memory_format: str
) -> None:
    seen: list[tuple[str, bool]] = []

    class Looking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            channels_last = x.is_contiguous(memory_format=torch.channels_last)
            seen.append((str(x.dtype).removeprefix("torch."), channels_last))
            return x + 1

    shape = (1, 3, 4, 4)
    found = times_of(monkeypatch, Looking(), shape, dtype=dtype, memory_format=memory_format)
    assert set(seen) == {(dtype, memory_format == "channels_last")}
    assert all(math.isfinite(part.total_s) for part in found.parts)
