"""How a case is timed, under a clock that counts what each call costs."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep.measure.sampling import (
    MeasurementConfig,
    discard_warmup,
    make_plan,
    pass_time,
    quantiles,
    time_block,
    warm_up,
)
from convsweep.system.devices import TimedCall

EFFORT = MeasurementConfig()
calls_s = st.floats(1e-7, 30.0)
overheads_s = st.floats(1e-8, 1e-4)


class FakeClock:
    """A clock for calls that take the seconds of a list, the last one for ever."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)
        self.calls = 0
        self.now_s = 0.0

    def call(self) -> None:
        self.now_s += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.calls += 1

    def __call__(self, work: TimedCall) -> float:
        before_s = self.now_s
        work()
        return self.now_s - before_s


@given(call_s=calls_s, overhead_s=overheads_s)
def test_the_clock_costs_less_than_its_share_of_a_sample(call_s: float, overhead_s: float) -> None:
    plan = make_plan(call_s, overhead_s, EFFORT)
    assert overhead_s <= EFFORT.clock_share * plan.iterations * call_s * (1 + 1e-9)


@given(call_s=calls_s, overhead_s=overheads_s)
def test_every_case_gets_a_sample_and_none_more_than_it_may(
    call_s: float, overhead_s: float
) -> None:
    plan = make_plan(call_s, overhead_s, EFFORT)
    assert plan.samples >= 1
    assert 1 <= plan.blocks <= EFFORT.blocks
    assert plan.blocks == 1 or plan.all_calls * call_s <= EFFORT.case_s * (1 + 1e-9)


@given(call_s=st.floats(1e-7, EFFORT.long_call_s * 0.99))
def test_the_first_calls_of_a_block_are_discarded_unless_a_call_is_long(call_s: float) -> None:
    plan = make_plan(call_s, 1e-7, EFFORT)
    assert plan.discarded * call_s >= min(EFFORT.discard_s, call_s)
    assert make_plan(EFFORT.long_call_s, 1e-7, EFFORT).discarded == 0


def test_a_block_leaves_its_slow_first_calls_out() -> None:
    plan = make_plan(1e-3, 1e-8, EFFORT)
    clock = FakeClock(*[0.5] * plan.discarded, 1e-3)
    discard_warmup(clock, clock.call, plan)
    samples, _ = time_block(clock, clock.call, plan)
    assert len(samples) == plan.samples
    assert samples == pytest.approx([1e-3] * plan.samples)
    assert clock.calls == plan.discarded + plan.samples * plan.iterations


def test_a_sample_is_seconds_of_one_call() -> None:
    clock = FakeClock(1e-6)
    plan = make_plan(1e-6, 1e-7, EFFORT)
    assert plan.iterations > 1
    assert time_block(clock, clock.call, plan)[0] == pytest.approx([1e-6] * plan.samples)


def test_warm_up_lasts_its_time_and_reads_the_warm_calls() -> None:
    clock = FakeClock(0.004, 0.003, 1e-3)
    call_s = warm_up(clock, clock.call, 0.02)
    assert 0.02 <= clock.now_s < 0.021 + 1e-9
    assert call_s == pytest.approx(1e-3)


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=50))
def test_quantiles_are_in_order_and_within_the_samples(samples: list[float]) -> None:
    found = quantiles(samples)
    assert found.min_s == min(samples)
    assert found.min_s <= found.p05_s <= found.median_s <= found.p95_s <= max(samples)
    assert found.median_s == pytest.approx(float(np.median(samples)))
    assert found.mad_s >= 0


blocks_s = st.lists(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5), min_size=1, max_size=9)


@given(blocks_s)
def test_the_time_of_a_pass_is_that_of_the_faster_half_of_its_blocks(
    blocks: list[list[float]],
) -> None:
    means = sorted(float(np.mean(block)) for block in blocks)
    kept = means[: -(-len(means) // 2)]
    assert pass_time(blocks) == pytest.approx(sum(kept) / len(kept))


@given(blocks_s, st.randoms())
def test_disturbed_blocks_do_not_count_while_half_are_undisturbed(
    blocks: list[list[float]], random: Random
) -> None:
    slow = random.sample(range(2 * len(blocks)), len(blocks))
    calm = [[1.0] * len(block) for block in blocks]
    both = [*calm, *calm]
    for index in slow:
        both[index] = [1.0 + sample for sample in both[index]]
    assert pass_time(both) == pytest.approx(1.0)


@given(st.lists(st.floats(1e-3, 1.0), min_size=12, max_size=12))
def test_a_long_call_takes_as_long_as_the_short_calls_that_it_consists_of(
    seconds: list[float],
) -> None:
    short = np.array(seconds).reshape(3, 4)
    long = short.sum(axis=1, keepdims=True)
    assert pass_time(long.tolist()) == pytest.approx(4 * pass_time(short.tolist()))
