"""A copy of a model on other backends: as exact as the original, which stays as it is."""

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convsweep import ConvProblem, formatting
from convsweep.models.optimize.dispatch import this_machine
from convsweep.models.optimize.layers import dispatches
from tests.support.optimized_models import (
    SHAPE,
    THREADS,
    Narrowing,
    Small,
    Tabled,
    calls,
    near,
    optimize,
    problems_of,
    report_of,
)
from tests.support.strategies import conv_problems


def test_every_plain_module_runs_on_the_fastest_and_gives_the_same(
    model: nn.Module, optimized: nn.Module, x: Tensor
) -> None:
    with torch.inference_mode():
        assert near(optimized(x), model.eval()(x))
    assert calls(optimized) == {"im2col": 4}
    report = report_of(optimized)
    assert [(one.name, one.calls) for one in report.replaced] == [
        ("stem", 1), ("twice", 1), ("twice", 1), ("depthwise", 1),
    ]  # fmt: skip
    assert [(one.name, one.reason) for one in report.skipped] == [
        ("", "is called as a function, not as a module")
    ]
    assert report.error is not None
    assert report.error.passes
    assert all(one.error.error_ratio <= one.error.bound for one in report.replaced)
    assert report.saving_s == pytest.approx(4 * 5e-4, rel=0.2)
    head, *rows = str(report).splitlines()[: len(report.replaced) + 2]
    assert max(map(len, [head, *rows])) <= 100
    assert all(formatting.seconds(one.saving_s) in "".join(rows) for one in report.replaced)
    assert formatting.seconds(report.saving_s) in rows[-1]


def test_the_original_stays_as_it_was(model: nn.Module, x: Tensor, tabled: Tabled) -> None:
    model.train()
    before, kinds = copy.deepcopy(model.state_dict()), [*map(type, model.modules())]
    state, given = torch.random.get_rng_state(), x.clone()
    optimize(model, tabled(problems_of(model, x)), x, measure_s=0.01)
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert [*map(type, model.modules())] == kinds
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(x, given)
    assert torch.get_num_threads() == THREADS


def test_parameters_keep_their_names_and_new_ones_are_computed_with(
    model: nn.Module, optimized: nn.Module, x: Tensor
) -> None:
    assert list(optimized.state_dict()) == list(model.state_dict())
    other = {name: value * 1.5 for name, value in model.state_dict().items()}
    optimized.load_state_dict(other)
    model.load_state_dict(other)
    with torch.inference_mode():
        assert near(optimized(x), model.eval()(x))
    assert calls(optimized) == {"im2col": 4}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@given(problem=conv_problems(), data=st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_layer_that_is_replaced_gives_what_it_gave(
    problem: ConvProblem, data: st.DataObject, tabled: Tabled
) -> None:
    modes = ["zeros", "circular", "replicate"]
    small = min(problem.input_size) > max(problem.padding)
    mode = data.draw(st.sampled_from(modes if small else modes[:1]))
    same = data.draw(st.booleans()) and set(problem.stride) == {1}
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[problem.rank - 1](
        problem.in_channels,
        problem.out_channels,
        problem.kernel_size,
        problem.stride,
        "same" if same and mode == "zeros" else problem.padding,
        problem.dilation,
        problem.groups,
        problem.bias,
        padding_mode=mode,
    )
    model, x = nn.Sequential(layer, nn.ReLU(inplace=True)), torch.randn(problem.input_shape)
    optimized = optimize(model, tabled(problems_of(model, x)), x)
    with torch.inference_mode():
        assert near(optimized(x), model(x))
        other = torch.randn_like(x)
        assert near(optimized(other), model(other))
    assert calls(optimized) == {"im2col": 2}, report_of(optimized)


def test_training_and_gradients_are_torchs(
    model: nn.Module, optimized: nn.Module, x: Tensor
) -> None:
    optimized(x).sum().backward()
    model.eval()(x).sum().backward()
    for ours, theirs in zip(optimized.parameters(), model.parameters(), strict=True):
        assert ours.grad is not None
        assert torch.equal(ours.grad, theirs.grad)
    assert calls(optimized) == {"torch: gradients are recorded": 4}
    optimized.train()
    with torch.no_grad():
        optimized(x)
    assert calls(optimized)["torch: training"] == 4


OTHERS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "another input": lambda model, x: model(x[:1]),
    "another number of threads": lambda model, x: on_other_threads(model, x),
    "another memory format": lambda model, x: model(x.to(memory_format=torch.channels_last)),
    "autocast": lambda model, x: autocast(model, x),
}


def on_other_threads(model: nn.Module, x: Tensor) -> Tensor:
    torch.set_num_threads(THREADS + 1)
    try:
        return model(x)
    finally:
        torch.set_num_threads(THREADS)


def autocast(model: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(x)


@pytest.mark.parametrize("why", OTHERS)
def test_what_was_not_measured_is_torchs(
    model: nn.Module, optimized: nn.Module, x: Tensor, why: str
) -> None:
    with torch.no_grad():
        assert near(OTHERS[why](optimized, x), OTHERS[why](model.eval(), x))
    assert calls(optimized)[f"torch: {why}"] >= 1
    assert "im2col" not in calls(optimized) or why == "another memory format"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_traced_is_torchs(optimized: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        graph = str(torch.jit.trace(optimized, x, check_trace=False).inlined_graph)
        assert near(torch.export.export(optimized, (x,)).module()(x), optimized(x))
    assert graph.count("aten::_convolution") == 5
    assert calls(optimized) == {"im2col": 4}


def test_another_dtype_is_torchs(model: nn.Module, optimized: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(optimized.double()(x.double()), model.eval().double()(x.double()))
    assert calls(optimized) == {"torch: another input": 4}


def test_a_copy_and_a_pickle_run_on_the_same_backends(optimized: nn.Module, x: Tensor) -> None:
    file = io.BytesIO()
    torch.save(optimized, file)
    file.seek(0)
    for again in (
        copy.deepcopy(optimized),
        pickle.loads(pickle.dumps(optimized)),
        torch.load(file, weights_only=False),
    ):
        with torch.inference_mode():
            assert torch.equal(again(x), optimized(x))
        assert calls(again) == {"im2col": 4}
        assert str(report_of(again)) == str(report_of(optimized))


def test_a_pickle_of_another_machine_is_refused(
    optimized: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = pickle.dumps(optimized)
    elsewhere = lambda: ("another CPU", *this_machine()[1:])  # noqa: E731
    monkeypatch.setattr("convsweep.models.optimize.dispatch.this_machine", elsewhere)
    with pytest.raises(ValueError, match="was optimized for"):
        pickle.loads(text)


def test_a_model_that_is_not_for_float64_is_held_to_itself(x: Tensor, tabled: Tabled) -> None:
    model = Narrowing()
    optimized = optimize(model, tabled(problems_of(model, x)), x, measure_s=0.01)
    report = report_of(optimized)
    assert len(report.replaced) == 2
    assert report.error is not None
    assert report.error.optimized <= report.error.allowed < 1e-3
    assert report.error.float64_failure
    with torch.inference_mode():
        assert near(optimized(x), model(x))


def test_an_optimized_model_is_optimized_from_its_original(
    model: nn.Module, optimized: nn.Module, x: Tensor, tabled: Tabled
) -> None:
    table = tabled(problems_of(model, x))
    again = optimize(optimized, table, x)
    first, second = report_of(optimized), report_of(again)
    assert (second.replaced, second.skipped) == (first.replaced, first.skipped)
    assert second.error == first.error
    assert dispatches(optimized)
    none = optimize(optimized, tabled(dict.fromkeys(problems_of(model, x), "torch_conv")), x)
    assert [*map(type, none.modules())] == [*map(type, model.modules())]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_model_is_optimized_as_it_was_written(
    model: nn.Module, x: Tensor, tabled: Tabled
) -> None:
    table = tabled(problems_of(model, x))
    compiled = nn.Sequential(torch.compile(model, backend="eager"))
    assert set(dispatches(optimize(compiled, table, x))) == {"0.stem", "0.twice", "0.depthwise"}
    assert set(dispatches(optimize(compiled[0], table, x))) == {"stem", "twice", "depthwise"}
    assert type(compiled[0]) is not Small


def test_a_lazy_model_is_optimized(x: Tensor, tabled: Tabled) -> None:
    table = tabled({ConvProblem(3, 4, SHAPE[2:], 3, batch_size=2, bias=True): "im2col"})
    lazy = nn.Sequential(nn.LazyConv2d(4, 3))
    assert set(dispatches(optimize(lazy, table, x))) == {"0"}
