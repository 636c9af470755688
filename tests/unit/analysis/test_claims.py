"""Claims about cost: their pairs, and verdicts on made-up times."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.analysis.claims.claims import CLAIMS
from convsweep.analysis.claims.evidence import (
    FAILS,
    HOLDS,
    HOLDS_IN_PART,
    UNDECIDED,
    ClaimResult,
    evaluate,
)
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.problems.grids import GRIDS
from convsweep.problems.problem import ConvProblem
from convsweep.report.pages import Section
from convsweep.report.plots.style import drawing_style, png
from convsweep.report.sections.claims import section
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made

BACKENDS = ("torch_conv", "pointwise", "linear", "separable")
LECTURE = [layer.problem for layer in GRIDS["lecture"].layers()]
BIASED = [made.square(c, s, 3, bias=b) for c in (32, 64) for s in (14, 28) for b in (0, 1)]
KERNELS = [made.square(32, 28, k) for k in (1, 3, 5, 7)]
MACS_PER_S, OVERHEAD_S = 4e10, 2e-5

(
    BIAS,
    PADDING,
    PADDING_PER_MAC,
    PRODUCT,
    CONNECTED,
    LADDER,
    CHANNELS,
    KERNEL,
    VOLUME,
    CHEAP,
    SHARE,
) = (claim.statement for claim in CLAIMS)

Seconds = Callable[[ConvProblem, str, str], float]


def as_lectured(problem: ConvProblem, backend: str, device: str) -> float:
    """A machine on which time is work."""
    return made.work(problem, backend) / MACS_PER_S


def with_overhead(problem: ConvProblem, backend: str, device: str) -> float:
    """A machine on which every call costs the same before it does any work."""
    return OVERHEAD_S + as_lectured(problem, backend, device)


def times_with_bias(factor: float) -> Seconds:
    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        return as_lectured(problem, backend, device) * (factor if problem.bias else 1)

    return seconds


def fits(problem: ConvProblem, backend: str) -> bool:
    kinds = {"pointwise": problem.is_pointwise, "linear": problem.is_pointwise,
             "separable": not problem.is_pointwise}  # fmt: skip
    return kinds.get(backend, True)


def measured(
    seconds: Seconds,
    problems: list[ConvProblem] = LECTURE,
    backends: tuple[str, ...] = BACKENDS,
    **how: object,
) -> list[Row]:
    """The rows of everything that fits; a different seed for each backend."""
    options = {"noise": 0.003, "passes": 5, "seed": 0, **how}
    return [
        row
        for number, backend in enumerate(backends)
        for row in made.rows(
            [problem for problem in problems if fits(problem, backend)],
            backends=(backend,),
            seconds=seconds,
            judge=lambda problem, backend, seconds: ("ok", None),
            **(options | {"seed": options["seed"] + number}),
        )
    ]


Read = Callable[[list[Row]], Run]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    folders = (tmp_path / str(number) for number in itertools.count())

    def read(rows: list[Row]) -> Run:
        measurements = load(made.write(next(folders), rows))
        return read_run(measurements, summarize(measurements))

    return read


def by_claim(run: Run) -> dict[str, ClaimResult]:
    return {evidence.claim.statement: evidence for evidence in evaluate(run)}


def page(run: Run) -> Section:
    with drawing_style():
        found = section(run)
    assert found is not None
    return found


def test_where_time_is_work_the_lecture_is_right(read: Read) -> None:
    found = {
        statement: evidence.verdict
        for statement, evidence in by_claim(read(measured(as_lectured))).items()
    }
    assert found.pop(PADDING) == FAILS  # more padding is more output
    assert set(found.values()) == {HOLDS}


def test_where_calls_cost_something_it_is_right_of_large_problems_only(read: Read) -> None:
    found = by_claim(read(measured(with_overhead)))
    for statement in (CHANNELS, KERNEL, SHARE):  # the one costs more work than the other
        assert found[statement].verdict in (HOLDS_IN_PART, FAILS)
    for statement in (BIAS, LADDER, VOLUME, PRODUCT):
        assert found[statement].verdict == HOLDS


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [(1.0, 0.003, HOLDS), (1.2, 0.003, FAILS), (0.8, 0.003, FAILS), (1.0, 0.2, UNDECIDED)],
)
def test_a_bias_is_free_as_far_as_its_times_say(
    read: Read, factor: float, noise: float, verdict: str
) -> None:
    rows = measured(times_with_bias(factor), BIASED, ("torch_conv",), noise=noise)
    evidence = by_claim(read(rows))[BIAS]
    assert evidence.verdict == verdict
    assert evidence.mean.low < factor < evidence.mean.high


def test_the_mean_is_of_measured_over_claimed(read: Read) -> None:
    def sqrt_of_macs(problem: ConvProblem, backend: str, device: str) -> float:
        return 1e-6 * problem.macs**0.5

    evidence = by_claim(read(measured(sqrt_of_macs, KERNELS, ("torch_conv",), noise=1e-6)))[KERNEL]
    for each in evidence.pairs:
        assert each.ratio.value == pytest.approx(each.pair.claimed**0.5, rel=1e-4)
        assert each.over_claimed.value == pytest.approx(each.pair.claimed**-0.5, rel=1e-4)
    assert evidence.verdict == FAILS  # cheaper than claimed is not as claimed


def test_one_pass_decides_nothing(read: Read) -> None:
    run = read(measured(as_lectured, passes=1))
    assert {evidence.verdict for evidence in evaluate(run)} == {UNDECIDED}
    assert len(page(run).tables[0][1].rows) == len(CLAIMS)


def test_a_result_that_is_wrong_shows_nothing(read: Read) -> None:
    rows = [
        replace(row, status="mismatch", median_s=None, reason="error") if row.bias else row
        for row in measured(as_lectured, BIASED)
    ]
    assert BIAS not in by_claim(read(rows))


def test_a_slow_pass_that_is_slow_for_all_changes_nothing(read: Read) -> None:
    rows = [
        replace(row, median_s=row.median_s * (3 if row.pass_index == 1 else 1))
        if row.median_s
        else row
        for row in measured(as_lectured, backends=("torch_conv",), noise=0.0001)
    ]
    evidence = by_claim(read(rows))[LADDER]
    assert evidence.verdict == HOLDS
    assert evidence.mean.high / evidence.mean.low < 1.01


def test_a_run_without_a_pair_has_no_page(read: Read) -> None:
    rows = measured(as_lectured, [made.square(8, 14, 3)], ("torch_conv", "im2col"))
    assert section(read(rows)) is None


def test_a_run_without_its_baseline_has_no_page(read: Read) -> None:
    assert section(read(measured(as_lectured, BIASED, ("im2col", "separable")))) is None


def test_a_claim_without_pairs_is_not_reported(read: Read) -> None:
    problems = [made.square(32, 14, 3), made.square(32, 14, 3, bias=1)]
    found = page(read(measured(as_lectured, problems, ("torch_conv",))))
    assert found.sentence
    [(_, claims)] = found.tables
    assert [row[2:] for row in claims.rows] == [("1 of 1", "1.00", claims.rows[0][4], HOLDS)]


def test_a_claim_that_fails_at_some_sizes_holds_in_part(read: Read) -> None:
    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        slower = problem.bias and problem.input_size[0] < 28
        return as_lectured(problem, backend, device) * (1.5 if slower else 1)

    problems = [made.square(32, size, 3, bias=b) for size in (7, 14, 28, 56) for b in (0, 1)]
    found = by_claim(read(measured(seconds, problems, ("torch_conv",))))[BIAS]
    assert found.verdict == HOLDS_IN_PART
    assert sorted(pair.verdict for pair in found.pairs) == [FAILS, FAILS, HOLDS, HOLDS]


def test_of_several_settings_the_first_is_reported(read: Read) -> None:
    rows = measured(as_lectured, passes=3) + measured(with_overhead, passes=3, device="cuda")
    found = page(read(rows))
    assert found.sentence.startswith("On cpu, of 11 claims")
    assert len(found.pictures) == 1
    assert len(found.tables[0][1].rows) == 11


def test_the_figure_names_every_claim_that_was_measured(read: Read) -> None:
    [picture] = page(read(measured(as_lectured))).pictures
    [axes] = picture.figure.axes
    names = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
    assert names == [claim.statement for claim in CLAIMS]
    assert png(picture.figure).startswith(b"\x89PNG")


def test_the_lectures_grid_shows_every_claim_on_several_problems(read: Read) -> None:
    found = evaluate(read(measured(as_lectured, passes=2)))
    assert len(found) == len(CLAIMS)
    assert min(len(evidence.pairs) for evidence in found) >= 3
