"""Timing a group in one process: errors after the gate are found as well."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from convsweep import Backend, ConvProblem, Weights
from convsweep.analysis.sample_flags import DISTURBED
from convsweep.backends import variants
from convsweep.backends.base import Conv, Implementation, tells
from convsweep.backends.strategies.torch_conv import prepare as honest
from convsweep.measure.gate import ValidatedCase, setup_group, validate
from convsweep.measure.outcome import Outcome, failure
from convsweep.measure.reference import Reference
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.measure.timing import GroupTimer, add_implementation
from convsweep.problems.case import cross
from convsweep.problems.workloads import Layer
from convsweep.results.schema import COUNT_COLUMNS
from convsweep.system.counters import ZERO, Counts

PROBLEM = ConvProblem(4, 4, (6, 6), 3, padding=1)
BRIEF = MeasurementConfig(warm_up_s=0.002, block_s=0.001, blocks=2, case_s=0.01)
SETTINGS = Settings(effort=BRIEF)


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


def ring_of_four_arrays(problem: ConvProblem, weights: Weights) -> Conv:
    """Memory that PyTorch does not own, and wraps anew in each call."""
    inner, calls = honest(problem, weights), []
    buffers = [np.empty(problem.output_shape, np.float32) for _ in range(4)]

    def conv(x: Tensor) -> Tensor:
        calls.append(None)
        return torch.from_numpy(buffers[len(calls) % 4]).copy_(inner(x))

    return conv


def give_up(answers: list[Tensor]) -> Tensor:
    raise RuntimeError("had enough")


LATE = {
    "remembers": (from_the_fourth_call(lambda answers: answers[1].clone()), "mismatch"),
    "half precision": (from_the_fourth_call(lambda answers: answers[2].bfloat16()), "mismatch"),
    "flat": (from_the_fourth_call(lambda answers: answers[2].flatten()), "mismatch"),
    "no tensor": (from_the_fourth_call(lambda answers: answers[2].tolist()), "mismatch"),
    "ring": (ring_of_three, "mismatch"),
    "ring of arrays": (ring_of_four_arrays, "mismatch"),
    "raises": (from_the_fourth_call(give_up), "error"),
}


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Outcome]]]:
    """Time backends of one problem; return the outcome of each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as a measuring process does: two may wait long for each other
    # On a loaded machine any call may be slow.
    monkeypatch.setattr("convsweep.measure.timing._SLOW_CALL_S", float("inf"))

    def run(
        backends: dict[str, Callable[..., Conv]],
        cache: str = "hot",
        counters: object = None,
        **options: object,
    ) -> dict[str, Outcome]:
        made = {name: Backend(name, prepare) for name, prepare in backends.items()}
        monkeypatch.setattr(variants, "list_backends", lambda: made)
        cases = cross([Layer(PROBLEM)], tuple(made), caches=[cache])
        with torch.no_grad():
            timer = GroupTimer(setup_group(cases, replace(SETTINGS, **options)), counters)
            return {case.backend: outcome(timer, i) for i, case in enumerate(cases)}

    def outcome(timer: GroupTimer, index: int) -> Outcome:
        validated = timer.validate(index)
        if validated.status != "ok" or timer.group.settings.effort is None:
            return validated
        try:
            for _ in range(timer.warm_up(index).blocks - 1):
                timer.time_block(index)
            return timer.time_last_block(index) or timer.finish(index)
        except Exception as error:
            return failure(error)

    yield run
    torch.set_num_threads(before)


def test_an_honest_backend_has_every_measurement(
    measure: Callable[..., dict[str, Outcome]],
) -> None:
    outcome = measure({"honest": honest})["honest"]
    assert outcome.status == "ok"
    assert outcome.samples
    assert outcome.iterations
    assert outcome.median_s
    assert outcome.prepare_s is not None
    assert outcome.peak_memory_bytes is None or outcome.peak_memory_bytes >= 0


class CountsOfTen:
    """Every count is ten more at each reading."""

    def __init__(self) -> None:
        self.now = ZERO

    def read(self) -> Counts:
        self.now = Counts(*(count + 10 for count in self.now))
        return self.now


@pytest.mark.parametrize("cache", ["hot", "cold"])
def test_counters_are_read_around_whole_blocks_unless_flushes_would_count(
    measure: Callable[..., dict[str, Outcome]], cache: str
) -> None:
    outcome = measure({"honest": honest}, cache, counters=CountsOfTen())["honest"]
    assert outcome.page_faults_per_call is not None
    counts = [getattr(outcome, name) for name in COUNT_COLUMNS]
    calls = outcome.samples * outcome.iterations
    assert counts == [10 * len(outcome.blocks) / calls if cache == "hot" else None] * 4


def test_what_a_case_runs_is_found_in_the_first_pass_unless_it_takes_long(
    measure: Callable[..., dict[str, Outcome]],
) -> None:
    found = measure({"honest": honest})["honest"]
    assert found.implementation
    assert found.trace_s > 0
    for options in ({"pass_index": 1}, {"trace": False}):
        left_out = measure({"honest": honest}, **options)["honest"]
        assert (left_out.status, left_out.implementation, left_out.trace_s) == ("ok", None, 0.0)
    checked = measure({"honest": honest}, effort=None)["honest"]
    assert checked.implementation == found.implementation


def test_a_call_too_long_to_repeat_has_the_reason(
    measure: Callable[..., dict[str, Outcome]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convsweep.measure.timing._EXTRA_CALL_SHARE", 0.0)
    found = measure({"honest": honest})["honest"]
    assert (found.status, found.implementation) == ("ok", None)
    assert "no implementation: " in str(found.sample_flags)


@pytest.mark.parametrize("pass_index", [0, 4])
@pytest.mark.parametrize("name", LATE)
def test_what_goes_wrong_after_the_gate_costs_the_time_and_nobody_else(
    name: str, pass_index: int, measure: Callable[..., dict[str, Outcome]]
) -> None:
    prepare, status = LATE[name]
    outcomes = measure({"late": prepare, "honest": honest}, pass_index=pass_index)
    assert outcomes["late"].status == status
    assert outcomes["late"].reason
    assert outcomes["late"].median_s is None
    assert outcomes["honest"].status == "ok"


def test_the_gate_alone_times_nothing(measure: Callable[..., dict[str, Outcome]]) -> None:
    outcome = measure({"honest": honest}, effort=None)["honest"]
    assert outcome.status == "ok"
    assert outcome.median_s is None


def test_a_call_over_the_limit_is_a_timeout(measure: Callable[..., dict[str, Outcome]]) -> None:
    outcome = measure({"honest": honest}, case_timeout_s=1e-9)["honest"]
    assert outcome.status == "timeout"
    assert "1e-09" in str(outcome.reason)


def test_a_problem_beyond_the_memory_is_refused_before_it_is_drawn() -> None:
    huge = cross([Layer(ConvProblem(64, 64, (100_000, 100_000), 3))], ("torch_conv",))
    with pytest.raises(MemoryError, match="GiB"):
        setup_group(huge, SETTINGS)


def test_cold_samples_are_single_calls(measure: Callable[..., dict[str, Outcome]]) -> None:
    hot, cold = (measure({"honest": honest}, cache=cache)["honest"] for cache in ("hot", "cold"))
    assert cold.status == "ok"
    assert cold.iterations == 1
    assert hot.samples
    assert cold.samples


def test_every_sample_is_kept_block_by_block(measure: Callable[..., dict[str, Outcome]]) -> None:
    outcome = measure({"honest": honest})["honest"]
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
        ("plain", "plain+again", "plain+5%"),
    )
    made = []
    with torch.no_grad():
        timer = GroupTimer(setup_group(cases, SETTINGS))
        for index in range(3):
            assert timer.validate(index).status == "ok"
            plan = timer.warm_up(index)
            before = len(calls)
            timer.time_block(index)
            made.append((len(calls) - before - plan.discarded) / (plan.samples * plan.iterations))
    assert made == [1.0, 1.0, 1.05]


def test_a_later_pass_accepts_the_bits_of_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cross([Layer(PROBLEM)], ["torch_conv"])
    first = GroupTimer(setup_group(cases, SETTINGS)).validate(0)
    later = GroupTimer(setup_group(cases, replace(SETTINGS, pass_index=1)))
    monkeypatch.setattr(Reference, "compare", None)
    assert later.validate(0, first.accepted, call_s=1e-4).max_abs_err == first.max_abs_err
    later.warm_up(0)
    later.time_block(0)
    assert later.time_last_block(0) is None
    measured = later.finish(0)
    assert (measured.status, measured.accepted) == ("ok", b"")
    assert GroupTimer(later.group).validate(0).status == "error"  # compared again


@pytest.mark.parametrize(
    "told",
    [
        lambda x: "a name",
        lambda x: Implementation("own kernel", -1),
        lambda x: Implementation("own kernel", kernel_s=float("nan")),
        lambda x: x[9],
        lambda: Implementation("own kernel"),
    ],
)
def test_a_backend_that_tells_nothing_sensible_is_timed_all_the_same(
    told: Callable[..., Implementation], measure: Callable[..., dict[str, Outcome]]
) -> None:
    outcome = measure({"odd": lambda p, w: tells(honest(p, w), told)})["odd"]
    assert (outcome.status, outcome.implementation, outcome.reorders) == ("ok", None, None)
    assert outcome.median_s
    assert outcome.sample_flags
    assert "no implementation: " in outcome.sample_flags


@pytest.mark.parametrize("times", [0.1, 100.0])
def test_a_trace_far_longer_than_the_median_time_is_disturbed(times: float) -> None:
    group = setup_group(cross([Layer(PROBLEM)], ["torch_conv"]), SETTINGS)
    validated = validate(group, 0)
    assert isinstance(validated, ValidatedCase)
    tells(validated.conv, lambda x: Implementation("own", 0, times / 2, times / 2))
    outcome = add_implementation(replace(validated.outcome, median_s=1.0), validated, group)
    assert (DISTURBED in str(outcome.sample_flags)) == (times > 1)
    assert (outcome.implementation, outcome.kernel_s) == ("own", times / 2)
    unmeasured = add_implementation(validated.outcome, validated, group)
    assert not unmeasured.sample_flags
