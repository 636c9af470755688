"""Gate of whole blocks: right ones pass in every direction, wrong ones fail."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import batch_norm

from convsweep.backends import blocks
from convsweep.backends.base import Backend, Conv, GraphLayer, Implementation, Weights, tells
from convsweep.backends.blocks import block_unsupported, layer_by_layer
from convsweep.backends.registry import list_backends
from convsweep.backends.strategies import torch_conv
from convsweep.measure import gate, problem_data
from convsweep.measure.gate import ValidatedCase, setup_group, validate
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import BLOCKS, CONV_BN_ACT, CONV_BN_ACT_FOLDED, DIRECTIONS, Case
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.system.forkserver import FOLDER

PROBLEM = ConvProblem(12, 16, (9, 8), 3, padding=1, batch_size=2, bias=True)
PLAIN = ConvProblem(5, 8, (7,), 3, padding=2, padding_end=0, stride=2, dilation=2, batch_size=3)
STANDARD, SEPARABLE = list_backends()["torch_conv"], list_backends()["separable"]
Lie = Callable[[Sequence[GraphLayer]], Sequence[GraphLayer]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def case(
    direction: str, block: str, problem: ConvProblem = PROBLEM, dtype: str = "float32"
) -> Case:
    how = ("cpu", dtype, "contiguous", 1, "hot", "torch_conv")
    return Case(Layer(problem), "separable", *how, direction, block)


def found(
    monkeypatch: pytest.MonkeyPatch, backend: Backend, asked: Case
) -> ValidatedCase | Outcome:
    monkeypatch.setattr(gate, "find_backend", lambda name: backend)
    return validate(setup_group([asked], Settings(case_timeout_s=60.0)), 0)


def runnable(asked: Case, backend: Backend) -> bool:
    how = (asked.block, asked.direction, asked.dtype)
    return block_unsupported(backend, asked.problem, *how) is None


@pytest.mark.parametrize("backend", [STANDARD, SEPARABLE], ids=lambda b: b.name)
@pytest.mark.parametrize("problem", [PROBLEM, PLAIN])
@pytest.mark.parametrize("block", BLOCKS[1:])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_right_blocks_pass_in_every_direction(
    monkeypatch: pytest.MonkeyPatch,
    direction: str,
    block: str,
    problem: ConvProblem,
    backend: Backend,
) -> None:
    for dtype in ("float32", "float64", "bfloat16"):
        asked = case(direction, block, problem, dtype)
        if runnable(asked, backend):
            assert isinstance(found(monkeypatch, backend, asked), ValidatedCase), dtype


def on_norms(**changed: Callable[[GraphLayer], torch.Tensor]) -> Lie:
    def lie(layers: Sequence[GraphLayer]) -> Sequence[GraphLayer]:
        changes = [{name: value(layer) for name, value in changed.items()} for layer in layers]
        pairs = zip(layers, changes, strict=True)
        norms = [layer.norm and layer.norm._replace(**c) for layer, c in pairs]
        return [layer._replace(norm=norm) for layer, norm in zip(layers, norms, strict=True)]

    return lie


def of(name: str) -> Callable[[GraphLayer], torch.Tensor]:
    return lambda layer: getattr(layer.norm, name)


LIES: dict[str, Lie] = {
    "no ReLU": lambda layers: [*layers[:-1], layers[-1]._replace(relu=0)],
    "no inner ReLU": lambda layers: [layers[0]._replace(relu=0), *layers[1:]],
    "no batch norm": lambda layers: [*layers[:-1], layers[-1]._replace(norm=None)],
    "no inner batch norm": lambda layers: [layers[0]._replace(norm=None), *layers[1:]],
    "no beta": on_norms(beta=lambda layer: of("beta")(layer) * 0),
    "no gamma": on_norms(gamma=lambda layer: torch.ones_like(of("gamma")(layer))),
    "epsilon of another library": on_norms(variance=lambda layer: of("variance")(layer) + 1e-3),
    "no mean": on_norms(mean=lambda layer: of("mean")(layer) * 0),
    "other statistics": lambda layers: [x._replace(training=not x.training) for x in layers],
    "no bias": lambda layers: [*layers[:-1], layers[-1]._replace(bias=None)],
}
UNSEEN = {
    # Statistics of the batch take the place of running ones and cancel a bias.
    *((name, "training") for name in ("epsilon of another library", "no mean")),
}


@pytest.mark.parametrize("backend", [STANDARD, SEPARABLE], ids=lambda b: b.name)
@pytest.mark.parametrize("direction", ["forward", "training"])
@pytest.mark.parametrize("lie", list(LIES))
def test_a_lie_about_the_block_is_a_mismatch(
    monkeypatch: pytest.MonkeyPatch, lie: str, direction: str, backend: Backend
) -> None:
    if (lie, direction) in UNSEEN:
        return

    def prepare_block(layers: Sequence[GraphLayer]) -> Conv:
        return layer_by_layer(torch_conv.prepare, LIES[lie](layers))

    liar = replace(backend, prepare_block=prepare_block)
    outcome = found(monkeypatch, liar, case(direction, CONV_BN_ACT))
    assert isinstance(outcome, Outcome)
    # Autograd refuses parameters that the output does not depend on.
    assert outcome.status in ("mismatch", "error" if direction == "training" else "mismatch")


@pytest.mark.parametrize("backend", [STANDARD, SEPARABLE], ids=lambda b: b.name)
def test_a_norm_folded_with_another_epsilon_is_a_mismatch(
    monkeypatch: pytest.MonkeyPatch, backend: Backend
) -> None:
    monkeypatch.setattr(blocks, "EPS", 1e-3)
    outcome = found(monkeypatch, backend, case("forward", CONV_BN_ACT_FOLDED))
    assert isinstance(outcome, Outcome)
    assert outcome.status == "mismatch"


@pytest.mark.parametrize("direction", ["forward", "training"])
def test_a_training_step_updates_running_statistics_and_inference_does_not(direction: str) -> None:
    asked = case(direction, CONV_BN_ACT)
    data = problem_data.compute(asked, fast_check=False)
    layers = blocks.block_layers(PROBLEM, data.inputs.weights, True, direction == "training")
    before = [layer.norm.mean.clone() for layer in layers if layer.norm]
    layer_by_layer(torch_conv.prepare, layers)(data.inputs.x)
    after = [layer.norm.mean for layer in layers if layer.norm]
    is_same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert is_same == [direction == "forward"] * 2


@pytest.mark.parametrize("direction", ["forward", "training"])
def test_about_half_of_the_activations_are_positive(direction: str) -> None:
    asked = case(direction, CONV_BN_ACT)
    references = problem_data.compute(asked, fast_check=False).references
    for name in ("y", "separable y"):
        assert 0.25 < float((references[name].y > 0).double().mean()) < 0.75


@pytest.mark.parametrize("direction", ["forward", "training"])
def test_data_of_blocks_are_read_as_they_were_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    computed = problem_data.compute(case(direction, CONV_BN_ACT), fast_check=True)
    file = problem_data.save(computed)
    assert file is not None
    read = problem_data.load(file)
    norms = [[d.inputs.weights.norm, *d.inputs.weights.factor_norms] for d in (computed, read)]
    for one, other in zip(*norms, strict=True):
        assert one is not None
        assert other is not None
        assert all(map(torch.equal, one, other))
    for name, one in computed.references.items():
        assert torch.equal(one.y, read.references[name].y)
        assert one.scale == read.references[name].scale


def test_the_reference_is_that_of_torch_in_float64() -> None:
    asked = case("forward", CONV_BN_ACT, dtype="float64")
    data = problem_data.compute(asked, fast_check=False)
    weights = data.inputs.weights
    assert weights.norm is not None
    gamma, beta, mean, variance = weights.norm
    y = torch_conv.prepare(PROBLEM, weights)(data.inputs.x)
    y = batch_norm(y, mean, variance, gamma, beta, eps=1e-5).relu()
    torch.testing.assert_close(data.references["y"].y, y)


@pytest.mark.parametrize(
    ("direction", "block", "dtype", "problem", "word"),
    [
        ("training", CONV_BN_ACT_FOLDED, "float32", PROBLEM, "folded"),
        ("backward_input", CONV_BN_ACT, "bfloat16", PROBLEM, "bfloat16"),
        ("training", CONV_BN_ACT, "float32", replace(PLAIN, input_size=(3,), batch_size=1), "one"),
        ("forward", CONV_BN_ACT, "float32", ConvProblem(2, 2, (5,), 3, transposed=True), "transp"),
    ],
)
def test_what_no_block_can_do_is_skipped_with_the_reason(
    direction: str, block: str, dtype: str, problem: ConvProblem, word: str
) -> None:
    reason = block_unsupported(STANDARD, problem, block, direction, dtype)
    assert word in (reason or "")


def test_a_backend_of_one_step_from_factors_takes_no_batch_norm() -> None:
    fused = replace(SEPARABLE, prepare_block=None)
    assert block_unsupported(fused, PROBLEM, CONV_BN_ACT, "forward", "float32")


@pytest.mark.parametrize("backend", [STANDARD, SEPARABLE], ids=lambda b: b.name)
@pytest.mark.parametrize("direction", ["backward_input", "backward_weight", "training"])
def test_gradients_a_thousandth_too_large_are_a_mismatch(
    monkeypatch: pytest.MonkeyPatch, direction: str, backend: Backend
) -> None:
    def prepare_block(layers: Sequence[GraphLayer]) -> Conv:
        conv = layer_by_layer(torch_conv.prepare, layers)

        def scaled(x: torch.Tensor) -> torch.Tensor:
            y = conv(x)
            return y + 1e-3 * (y - y.detach())

        return scaled

    liar = replace(backend, prepare_block=prepare_block)
    outcome = found(monkeypatch, liar, case(direction, CONV_BN_ACT))
    assert isinstance(outcome, Outcome)
    assert outcome.status == "mismatch"


def test_a_block_of_several_steps_names_each_of_them() -> None:
    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        return tells(torch_conv.prepare(problem, weights), lambda x: Implementation("own", 2))

    inputs = problem_data.compute(case("forward", CONV_BN_ACT), fast_check=False).inputs
    layers = blocks.block_layers(PROBLEM, inputs.weights, factored=True, training=False)
    told = layer_by_layer(prepare, layers).implementation(inputs.x)  # type: ignore[attr-defined]
    assert told.name == "own + batch_norm + relu + own + batch_norm + relu"
    assert told.reorders == 4
