"""Pairs of problems of the claims: they differ in what a claim is about alone."""

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsweep.analysis.claims import claims as pairs
from convsweep.problems.grids import GRIDS
from convsweep.problems.problem import ConvProblem
from tests.support.strategies import conv_problems

LECTURE = [layer.problem for layer in GRIDS["lecture"].layers()]
several = st.lists(
    conv_problems(max_channels=4, max_stride=2, max_extra=2), max_size=6, unique=True
)


def related(problem: ConvProblem) -> list[ConvProblem]:
    """The problem with neighbours that some claim may pair it with."""
    return [
        problem,
        replace(problem, bias=not problem.bias),
        replace(problem, padding=tuple(p + 1 for p in problem.padding)),
        replace(problem, padding=(0,) * problem.rank, kernel_size=(1,) * problem.rank),
        replace(problem, in_channels=2 * problem.in_channels),
        replace(problem, out_channels=2 * problem.out_channels),
    ]


def differing(one: ConvProblem, other: ConvProblem) -> set[str]:
    names = (field.name for field in fields(ConvProblem))
    return {name for name in names if getattr(one, name) != getattr(other, name)}


@settings(max_examples=60)
@given(several)
def test_a_pair_differs_in_what_its_claim_is_about_and_in_nothing_else(
    drawn: list[ConvProblem],
) -> None:
    problems = dict.fromkeys(each for problem in drawn for each in related(problem))
    for find, parts in (
        (pairs.bias_pairs, {"bias"}),
        (pairs.padding_pairs, {"padding", "padding_end"}),
        (pairs.kernel_pairs, {"kernel_size", "padding", "padding_end"}),
        (pairs.channel_scaling_pairs, {"in_channels", "out_channels"}),
        (pairs.equal_mac_pairs, {"in_channels", "out_channels", "input_size"}),
    ):
        for first, second in find(problems):
            assert set() < differing(first, second) <= parts
    assert all(second.bias and not first.bias for first, second in pairs.bias_pairs(problems))
    assert all(
        first.output_size == second.output_size for first, second in pairs.kernel_pairs(problems)
    )
    assert all(
        second.macs in (2 * first.macs, 4 * first.macs)
        for first, second in pairs.channel_scaling_pairs(problems)
    )


@pytest.mark.parametrize("find", [pairs.equal_mac_pairs, pairs.volume_pairs])
def test_rungs_and_volumes_do_exactly_equal_work(find: Callable[..., object]) -> None:
    found = list(find(LECTURE))
    assert len(found) >= 3
    for first, second in found:
        assert first.macs == second.macs
    if find is pairs.volume_pairs:
        assert {(first.rank, second.rank) for first, second in found} == {(2, 3)}
        assert all(first.taps == second.taps for first, second in found)


def test_the_ladder_goes_from_112_to_7() -> None:
    ladder = [
        p.input_size[0]
        for first, p in pairs.equal_mac_pairs(LECTURE)
        if first.input_size == (112, 112)
    ]
    assert ladder == [56, 28, 14, 7]
