"""Training steps of networks: their parts, forward and backward, and their numbers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest
import torch
from torch import Tensor, nn

from convsweep.measure import network_timing
from convsweep.measure.messages import NetworkTimes, TimeNetwork
from convsweep.measure.network_timing import time_network
from convsweep.problems.networks import CLASSES
from convsweep.problems.problem import ConvProblem
from convsweep.results.networks import BACKWARD, CONVOLUTION

SHAPE = (2, 3, 8, 8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Several threads on a loaded machine wait for each other in every small call."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Small(nn.Module):
    """A shortcut, batch norm, and a parameter that two convolutions share."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.first, self.shared = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.last = nn.Linear(4, CLASSES)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = self.shared(self.shared(x)) + x
        y: Tensor = self.factor * self.last(x.mean((2, 3)))
        return y


def times_of(
    monkeypatch: pytest.MonkeyPatch, module: nn.Module, direction: str = "training"
) -> NetworkTimes:
    monkeypatch.setattr(network_timing, "load_model", lambda spec: module)
    request = TimeNetwork(
        "some:model", [SHAPE], "cpu", "float32", "contiguous", direction, round_s=0.0
    )
    with torch.no_grad():  # as in a worker process
        return time_network(request)


def test_every_call_with_a_gradient_has_a_backward_part(monkeypatch: pytest.MonkeyPatch) -> None:
    found = times_of(monkeypatch, Small())
    counts = {(part.kind, part.problem): part.count for part in found.parts}
    convolutions = {
        ConvProblem(3, 4, (8, 8), 3, batch_size=2, bias=True): 1,
        ConvProblem(4, 4, (6, 6), 3, batch_size=2, padding=1, bias=True): 2,
    }
    for kind in (CONVOLUTION, BACKWARD + CONVOLUTION):
        assert {p: n for (own, p), n in counts.items() if own == kind} == convolutions
    for kind in ("batch norm", "activation", "linear", "loss"):
        assert counts[kind, None] == counts[BACKWARD + kind, None] == 1
    assert counts["optimizer", None] == 1
    assert sum(part.total_s for part in found.parts) <= found.instrumented_s
    assert 0 < found.instrumented_s <= found.timing_s
    assert found.warm_up_s > 0


def without_time(work: Callable[[], object]) -> float:
    """Do the work, as a clock that does not advance."""
    work()
    return 0.0


def test_a_backward_part_is_the_sum_of_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks: Iterator[int] = count(1)
    monkeypatch.setattr(network_timing, "perf_counter", lambda: float(next(ticks)))
    instant = replace(network_timing.find_device("cpu"), clock=without_time)
    monkeypatch.setattr(network_timing, "find_device", lambda name: instant)
    found = times_of(monkeypatch, Small())
    backward = {p.kind: p for p in found.parts if p.problem is None and BACKWARD in p.kind}
    for kind, nodes in (("batch norm", 1), ("loss", 2)):  # softmax, and choice of the label
        assert backward[BACKWARD + kind].total_s == nodes


def test_a_training_step_changes_weights_and_batch_statistics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = Small()
    before = {name: x.clone() for name, x in module.state_dict().items()}
    times_of(monkeypatch, module)
    after = module.state_dict()
    assert all(x.isfinite().all() for x in after.values())
    for name in ("first.weight", "shared.weight", "last.bias", "norm.running_mean"):
        assert not torch.equal(after[name], before[name])
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("direction", ["forward", "training"])
def test_zeros_before_a_convolution_are_its_padding(
    monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    layers = (nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 4, 3, 2), nn.ReflectionPad2d(1))
    found = times_of(monkeypatch, nn.Sequential(*layers, nn.Conv2d(4, 4, 3)), direction)
    assert [part.problem for part in found.parts if part.kind == CONVOLUTION] == [
        ConvProblem(3, 4, (8, 8), 3, batch_size=2, stride=2, padding_end=1, bias=True),
        ConvProblem(4, 4, (6, 6), 3, batch_size=2, bias=True),
    ]


class Several(nn.Module):
    """Outputs that are no scores of classes, one without a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> dict[str, object]:
        return {"maps": [self.conv(x)], "image": x, "name": "x"}


def test_outputs_of_any_structure_have_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Several()
    before = module.conv.weight.detach().clone()
    found = times_of(monkeypatch, module)
    assert BACKWARD + CONVOLUTION in {part.kind for part in found.parts}
    assert not torch.equal(module.conv.weight, before)


def test_a_forward_pass_changes_nothing_and_has_no_backward_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = Small()
    before = {name: x.clone() for name, x in module.state_dict().items()}
    found = times_of(monkeypatch, module, "forward")
    assert not any(part.kind.startswith(BACKWARD) for part in found.parts)
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())


@pytest.mark.parametrize("factor", [float("inf"), float("nan"), 1e38])
def test_a_loss_that_is_not_finite_is_refused(
    monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    with pytest.raises(ValueError, match="not finite"):
        times_of(monkeypatch, Small(factor))


def test_many_steps_keep_the_size_of_all_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Small()
    monkeypatch.setattr(network_timing, "load_model", lambda spec: module)
    request = TimeNetwork("some:model", [SHAPE], "cpu", "float32", "contiguous", "training")
    step = network_timing._prepared(request)
    first = float(step.forward().detach())
    for _ in range(50):
        step.run()
    assert 0.1 < float(step.forward().detach()) / first < 1.5
    assert all(float(p.detach().abs().max()) < 1e3 for p in module.parameters())
