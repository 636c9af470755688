"""Depthwise and 1x1 convolutions that are computed by one kernel: which, and their report."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from convsweep.models.optimize import candidates
from convsweep.models.optimize.layers import dispatches
from tests.support.folded_nets import same
from tests.support.fused_pairs import (
    BOTH,
    FUSED,
    Pair,
    asking_for_shapes,
    by_modules,
    fused,
    linear_bottleneck,
    pairs_of,
    twice,
    usual,
    with_a_shortcut,
    with_one_norm,
    without_activations,
)
from tests.support.optimized_models import Tabled, calls, optimize, problems_of, report_of

pytest.importorskip("numba")

pytestmark = pytest.mark.usefixtures("fused_is_fastest")

NETS: dict[str, tuple[Callable[[], Pair], list[list[str]]]] = {
    "usual": (partial(Pair, usual), BOTH),
    "modules": (partial(Pair, by_modules), BOTH),
    "shapes": (partial(Pair, asking_for_shapes), BOTH),
    "convolutions": (partial(Pair, without_activations), BOTH),
    "linear": (partial(Pair, linear_bottleneck), BOTH),
    "ReLU6": (partial(Pair, linear_bottleneck, activation=nn.ReLU6), BOTH),
    "narrow": (partial(Pair, usual, (2, 1)), BOTH),
    "wide": (partial(Pair, usual, (33, 64), stride=2, kernel_size=5), BOTH),
    "bias": (partial(Pair, usual, bias=True, padding=0, dilation=2), BOTH),
    "reflected": (partial(Pair, usual, padding_mode="reflect"), BOTH),
    "multiplier": (partial(Pair, usual, (12, 8), groups=6), []),
    "twice": (partial(Pair, twice), []),
    "shortcut": (partial(Pair, with_a_shortcut), []),
    "one norm": (partial(Pair, with_one_norm, (13, 13)), []),
}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", NETS)
def test_a_pair_is_computed_by_one_kernel(
    x: Tensor, tabled: Tabled, name: str, memory_format: torch.memory_format
) -> None:
    make, expected = NETS[name]
    net, x = make().eval(), x.to(memory_format=memory_format)
    own = fused(net, x, tabled)
    assert pairs_of(own) == expected
    with torch.inference_mode():
        for _ in range(2):
            assert same(own.model(x), net(x))
    assert calls(own.model).get(FUSED, 0) == 2 * len(expected)
    assert not any(dispatch.is_given_up for dispatch in dispatches(own.model).values())
    assert [*own.model.state_dict()] == [*net.state_dict()]


def test_several_threads_compute_a_pair(x: Tensor, tabled: Tabled) -> None:
    torch.set_num_threads(2)
    net = Pair(usual).eval()
    own = fused(net, x, tabled, threads=2)
    with torch.inference_mode():
        assert same(own.model(x), net(x))
    assert calls(own.model)[FUSED] == 1


def test_a_pair_without_a_faster_time_is_left_apart(
    x: Tensor, tabled: Tabled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def times(models: object, asked: list[set[str]], *more: object) -> list[dict[str, float]]:
        *others, last = (dict.fromkeys(own, 1.0) for own in asked)
        return [*others, last | {"depthwise.0": 2.0}]

    monkeypatch.setattr(candidates, "layer_times", times)
    own = fused(Pair(usual).eval(), x, tabled)
    assert pairs_of(own) == []
    assert {one.name for one in own.skipped} == {"stem", "depthwise.0", "pointwise.0"}


def test_a_report_names_both_layers(x: Tensor, tabled: Tabled) -> None:
    net = Pair(usual).eval()
    report = report_of(optimize(net, tabled(problems_of(net, x)), x, measure_s=10))
    assert "depthwise.0 + pointwise.0 C13→21" in str(report)
    assert "3 of 3 convolutions per call replaced, 2 with batch norm folded, 2 with" in str(report)


def test_a_report_has_the_reason_for_a_folded_layer(x: Tensor, tabled: Tabled) -> None:
    net = Pair(twice).eval()
    table = tabled(dict.fromkeys(problems_of(net, x), "torch_conv"))
    report = report_of(optimize(net, table, x))
    assert {one.name for one in report.replaced} == {"depthwise.0", "pointwise.0"}
    assert "5 convolutions on torch: depthwise.0, pointwise.0 and stem: torch_conv is" in str(
        report
    )
