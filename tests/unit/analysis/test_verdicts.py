"""Verdicts of comparisons, one and many, at the end and while a run goes on."""

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from convsweep.analysis.estimates import (
    Estimate,
    bounds,
    estimate,
)
from convsweep.analysis.estimates import degrees as degrees_of
from convsweep.analysis.verdicts import MARGIN, decided_early, passes_needed, verdicts

NAN = math.nan
EDGE = math.log1p(MARGIN)
OPPOSITE = {"faster": "slower", "slower": "faster"}

errors = st.floats(1e-6, 1)
degrees = st.floats(1, 30)


def one(mean: float, standard_error: float, degrees: float) -> Estimate:
    """The estimate of a run with one comparison."""
    return Estimate(*(np.array([part]) for part in (mean, standard_error, degrees)))


def many(estimates: Iterable[Estimate]) -> Estimate:
    return Estimate(*map(np.concatenate, zip(*estimates, strict=True)))


@given(st.floats(-0.2, 0.2), errors, degrees)
def test_a_single_verdict_is_what_its_interval_says(mean: float, error: float, df: float) -> None:
    low, high = np.log(bounds(one(mean, error, df))[1:, 0])
    assume(min(abs(abs(end) - EDGE) for end in (low, high)) > 1e-9)
    says = {"faster": low > EDGE, "slower": high < -EDGE, "same": low > -EDGE and high < EDGE}
    expected = next((claim for claim, true in says.items() if true), "undecided")
    assert list(verdicts(one(mean, error, df))) == [expected]


@given(st.lists(st.tuples(st.floats(-0.2, 0.2), errors, degrees), max_size=8), st.floats(1e-3, 0.5))
def test_being_faster_one_way_is_being_slower_the_other(
    found: list[tuple[float, float, float]], margin: float
) -> None:
    mean, error, df = np.array(found).reshape(-1, 3).T
    there = verdicts(Estimate(mean, error, df), margin)
    back = verdicts(Estimate(-mean, error, df), margin)
    assert [OPPOSITE.get(said, said) for said in there] == list(back)


@given(st.lists(st.tuples(st.floats(-0.1, 0.1), errors, degrees), min_size=1, max_size=10))
def test_a_verdict_among_many_is_never_bolder_than_alone(
    found: list[tuple[float, float, float]],
) -> None:
    together = verdicts(many(one(*each) for each in found))
    alone = [str(verdicts(one(*each))[0]) for each in found]
    assert all(said in (each, "undecided") for said, each in zip(together, alone, strict=True))


def test_what_is_claimed_alone_may_be_chance_among_a_hundred() -> None:
    borderline, chance = one(0.06, 0.012, 7), one(0.0, 0.05, 7)
    assert list(verdicts(borderline)) == ["faster"]
    assert list(verdicts(many([borderline, *[chance] * 99]))) == ["undecided"] * 100


def test_clear_cases_do_not_dim_a_borderline_one() -> None:
    borderline, clear = one(0.06, 0.012, 7), one(0.7, 0.01, 7)
    assert list(verdicts(many([borderline, *[clear] * 99]))) == ["faster"] * 100


@pytest.mark.parametrize(
    ("mean", "says"),
    [(0.1, "faster"), (-0.1, "slower"), (0.0, "same"), (0.019, "same"), (EDGE, "undecided")],
)
def test_passes_that_agree_to_the_last_digit_are_no_division_by_zero(
    mean: float, says: str
) -> None:
    assert list(verdicts(one(mean, 0.0, 4))) == [says]


def test_without_an_interval_nothing_is_decided() -> None:
    assert list(verdicts(many([one(2.0, NAN, 0), one(0.0, NAN, 0)]))) == ["undecided"] * 2
    assert list(verdicts(Estimate(*[np.array([])] * 3))) == []


def test_a_wider_margin_makes_the_same_of_what_was_faster() -> None:
    found = one(0.05, 0.002, 9)
    said = {margin: str(verdicts(found, margin)[0]) for margin in (0.02, 0.05, 0.1)}
    assert said == {0.02: "faster", 0.05: "undecided", 0.1: "same"}


def test_a_clear_case_is_settled_at_the_first_look_and_a_shaky_one_never() -> None:
    clear, environment_warnings = np.log([2.0, 2.01, 1.99]), np.log([1.0, 1.3, 0.8])
    assert decided_early({"a": clear, "b": environment_warnings}, MARGIN, looks=1) == {"a"}
    assert decided_early({}, MARGIN, looks=1) == set()
    assert decided_early({"a": clear[:1]}, MARGIN, looks=1) == set()


def test_the_more_looks_the_more_a_claim_needs() -> None:
    ratios = {"a": np.array([0.055, 0.05, 0.045, 0.05])}
    assert [bool(decided_early(ratios, MARGIN, looks)) for looks in (1, 2, 20)] == [
        True,
        True,
        False,
    ]


def test_a_case_left_alone_stays_settled_however_often_one_looks() -> None:
    early, open_ = np.array([0.70, 0.72, 0.69]), np.random.default_rng(0).normal(0, 0.1, 40)
    for look in range(1, 39):
        log_ratios = {"early": early, "open": open_[: look + 2]}
        assert "early" in decided_early(log_ratios, MARGIN, look)


def follow(log_ratios: np.ndarray, most: int) -> tuple[dict[int, np.ndarray], set[int]]:
    """What a scheduler does: a look after each pass from the third, settled cases left alone."""
    seen = {case: log_ratios[case, :2] for case in range(len(log_ratios))}
    done: set[int] = set()
    for passes in range(3, most + 1):
        seen |= {case: log_ratios[case, :passes] for case in seen.keys() - done}
        done |= decided_early(seen, MARGIN, passes - 2)
    return seen, done


def said_of(seen: dict[int, np.ndarray]) -> np.ndarray:
    return verdicts(many([one(*estimate(seen[case])) for case in sorted(seen)]))


def test_what_was_settled_is_in_the_verdicts_of_the_whole_run() -> None:
    generator = np.random.default_rng(3)
    for _ in range(5):
        truth = generator.choice([0.0, 0.03, 0.05, 0.7], size=(40, 1))
        seen, done = follow(truth + generator.normal(0, 0.02, (40, 12)), 12)
        assert done
        assert "undecided" not in said_of(seen)[sorted(done)]


def test_looking_after_every_pass_makes_no_false_verdicts() -> None:
    """A backend against itself, 1,000 comparisons: at most 1 % are faster or slower."""
    generator = np.random.default_rng(11)
    wrong = 0
    for _ in range(5):
        deviation = generator.uniform(0.01, 0.06, size=(200, 1))
        seen, _ = follow(generator.normal(0, deviation, (200, 20)), 20)
        wrong += int(np.isin(said_of(seen), ["faster", "slower"]).sum())
    assert wrong / 1000 <= 0.01


@pytest.mark.parametrize("mean", [0.05, -0.05, 0.3, 0.0, 0.01])
@pytest.mark.parametrize("deviation", [0.003, 0.02, 0.1])
def test_so_many_passes_are_the_fewest_that_clear_the_margin(mean: float, deviation: float) -> None:
    ratios = np.random.default_rng(5).normal(size=6)
    ratios = mean + deviation * (ratios - ratios.mean()) / ratios.std(ddof=1)
    needed = passes_needed(ratios, MARGIN)
    assert needed is not None
    now = estimate(ratios)

    def decided(passes: int) -> bool:
        error = float(now.standard_error) * math.sqrt(len(ratios) / passes)
        return verdicts(one(float(now.mean), error, degrees_of(passes)))[0] != "undecided"

    assert decided(needed)
    assert needed == 2 or not decided(needed - 1)


def test_nobody_knows_how_many_passes_an_estimate_on_the_margin_needs() -> None:
    assert passes_needed(np.array([EDGE - 0.01, EDGE + 0.01]), MARGIN) is None
    assert passes_needed(np.array([0.3]), MARGIN) is None
    assert passes_needed(np.array([]), MARGIN) is None
    assert passes_needed(np.array([0.3, 0.3]), MARGIN) == 2
