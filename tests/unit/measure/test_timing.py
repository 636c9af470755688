"""A contest of backends in one process: what goes wrong after the gate is noticed as well."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from convsweep import Backend, ConvProblem, Weights
from convsweep.backends import variants
from convsweep.backends.base import Conv
from convsweep.backends.strategies.torch_conv import prepare as honest
from convsweep.measure.gate import setup_group
from convsweep.measure.outcome import Outcome
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.timing import GroupTimer
from convsweep.problems.case import cross
from convsweep.problems.workloads import Layer

PROBLEM = ConvProblem(4, 4, (6, 6), 3, padding=1)
BRIEF = MeasurementConfig(warm_up_s=0.002, block_s=0.001, blocks=2, case_s=0.01)


def from_the_fourth_call(then: Callable[[list[Tensor]], Tensor]) -> Callable[..., Conv]:
    """Honest for as long as the gate looks; `then` answers from the calls' own answers."""

    def prepare(problem: ConvProblem, weights: Weights) -> Conv:
        inner, answers = honest(problem, weights), []

        def conv(x: Tensor) -> Tensor:
            answers.append(inner(x) if len(answers) < 3 else then(answers))
            return answers[-1]

        return conv

    return prepare


def ring_of_three(problem: ConvProblem, weights: Weights) -> Conv:
    inner, calls = honest(problem, weights), []
    buffers = [torch.empty(problem.output_shape) for _ in range(3)]

    def conv(x: Tensor) -> Tensor:
        calls.append(None)
        return buffers[len(calls) % 3].copy_(inner(x))

    return conv


def give_up(answers: list[Tensor]) -> Tensor:
    raise RuntimeError("had enough")


LATE = {
    "remembers": (
        from_the_fourth_call(lambda answers: answers[1].clone()),
        "mismatch",
        "after timing: error ratio",
    ),
    "ring": (ring_of_three, "mismatch", "after timing: returns the same memory"),
    "raises": (from_the_fourth_call(give_up), "error", "RuntimeError: had enough"),
}


@pytest.fixture
def contest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Outcome]]]:
    """Hold backends against each other; the outcome of each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as a measuring process does: two may wait long for each other

    def held(
        backends: dict[str, Callable[..., Conv]], cache: str = "hot", **options: object
    ) -> dict[str, Outcome]:
        made = {name: Backend(name, prepare) for name, prepare in backends.items()}
        monkeypatch.setattr(variants, "list_backends", lambda: made)
        cases = cross([Layer(PROBLEM)], tuple(made), caches=[cache])
        with torch.no_grad():
            opened = setup_group(cases, **{"case_timeout_s": 10.0, "effort": BRIEF, **options})
            stage = GroupTimer(opened)
            return {case.backend: outcome(stage, i) for i, case in enumerate(cases)}

    def outcome(stage: GroupTimer, index: int) -> Outcome:
        admitted = stage.validate(index)
        if admitted.status != "ok" or stage.contest.effort is None:
            return admitted
        blocks = stage.warm_up(index)
        if isinstance(blocks, Outcome):
            return blocks
        failed = [found for _ in range(blocks) if (found := stage.time_block(index))]
        return failed[0] if failed else stage.finish(index)

    yield held
    torch.set_num_threads(before)


def test_an_honest_backend_has_every_measurement(
    contest: Callable[..., dict[str, Outcome]],
) -> None:
    outcome = contest({"honest": honest})["honest"]
    assert outcome.status == "ok"
    assert outcome.samples
    assert outcome.iterations
    assert outcome.median_s
    assert outcome.prepare_s is not None
    assert outcome.peak_memory_bytes is None or outcome.peak_memory_bytes >= 0


@pytest.mark.parametrize("name", LATE)
def test_what_goes_wrong_after_the_gate_costs_the_time_and_nobody_else(
    name: str, contest: Callable[..., dict[str, Outcome]]
) -> None:
    prepare, status, words = LATE[name]
    outcomes = contest({"late": prepare, "honest": honest})
    assert outcomes["late"].status == status
    assert words in str(outcomes["late"].reason)
    assert outcomes["late"].median_s is None
    assert outcomes["honest"].status == "ok"


def test_the_gate_alone_times_nothing(contest: Callable[..., dict[str, Outcome]]) -> None:
    outcome = contest({"honest": honest}, effort=None)["honest"]
    assert outcome.status == "ok"
    assert outcome.median_s is None


def test_a_call_over_the_limit_is_a_timeout(contest: Callable[..., dict[str, Outcome]]) -> None:
    outcome = contest({"honest": honest}, case_timeout_s=1e-9)["honest"]
    assert outcome.status == "timeout"
    assert "one call takes" in str(outcome.reason)


def test_a_problem_beyond_the_memory_is_refused_before_it_is_drawn() -> None:
    huge = cross([Layer(ConvProblem(64, 64, (100_000, 100_000), 3))], ("torch_conv",))
    with pytest.raises(MemoryError, match="GiB are free"):
        setup_group(huge, case_timeout_s=1.0, effort=BRIEF)


def test_cold_samples_are_single_calls(contest: Callable[..., dict[str, Outcome]]) -> None:
    hot, cold = (contest({"honest": honest}, cache=cache)["honest"] for cache in ("hot", "cold"))
    assert cold.status == "ok"
    assert cold.iterations == 1
    assert hot.samples
    assert cold.samples


def test_every_sample_is_kept_block_by_block(contest: Callable[..., dict[str, Outcome]]) -> None:
    outcome = contest({"honest": honest})["honest"]
    assert 1 <= len(outcome.blocks) <= BRIEF.blocks
    samples = [sample for block in outcome.blocks for sample in block]
    assert len(samples) == outcome.samples
    assert min(samples) == outcome.min_s


def test_a_twin_does_the_more_work_that_its_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []

    def counting(problem: ConvProblem, weights: Weights) -> Conv:
        inner = honest(problem, weights)

        def conv(x: Tensor) -> Tensor:
            calls.append(None)
            return inner(x)

        return conv

    monkeypatch.setattr(variants, "list_backends", lambda: {"plain": Backend("plain", counting)})
    cases = cross(
        [Layer(PROBLEM)],
        ("plain", variants.aa_variant("plain"), variants.slowed_variant("plain", 5)),
    )
    made = []
    with torch.no_grad():
        stage = GroupTimer(setup_group(cases, case_timeout_s=10.0, effort=BRIEF))
        for index in range(3):
            assert stage.validate(index).status == "ok"
            blocks = stage.warm_up(index)
            assert isinstance(blocks, int)
            plan = stage.plan(index)
            before = len(calls)
            assert stage.time_block(index) is None
            made.append((len(calls) - before - plan.discarded) / (plan.samples * plan.iterations))
    assert made == [1.0, 1.0, 1.05]
