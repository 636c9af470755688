"""Figures of the depthwise study: what they draw, and that titles say what data carry."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from convsweep.analysis.roofline import roofline_efficiencies
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.pairing import compare_separable, compare_settings
from convsweep.analysis.summary import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.report.plots import (
    Picture,
    crossover,
    png,
    predicted_speedup,
    roofline,
    separable_parts,
)
from convsweep.report.plots.style import WIDTH, drawing_style, fitting_columns
from convsweep.report.sections import separable as study_section
from convsweep.results.store import Row, load
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of

PROBLEMS = made.grid((8, 32, 128), (14, 28, 56), (3, 5))
Draw = Callable[[list[Row]], dict[str, Picture]]


def read(run_dir: Path, rows: list[Row]) -> Run:
    measurements = load(made.write(run_dir, rows))
    return read_run(measurements, summarize(measurements))


def pictures_of(run: Run) -> dict[str, Picture]:
    found = compare_separable(run)
    with drawing_style():
        drawn = [
            predicted_speedup.draw(run, "separable"),
            crossover.draw(run, found),
            separable_parts.draw(run, found),
            roofline.draw(run, roofline_efficiencies(run, found), found.explanation),
        ]
        return {picture.name: picture for picture in drawn if picture is not None}


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    return lambda rows: pictures_of(read(tmp_path / "run", rows))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Picture]:
    rows = study_of.rows(PROBLEMS, study_of.near_ceilings(overhead_s=2e-5))
    return pictures_of(read(tmp_path_factory.mktemp("pictures") / "run", rows))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_a_study_has_four_figures(usual: dict[str, Picture]) -> None:
    assert list(usual) == [
        "predicted_speedup_separable",
        "crossover",
        "separable_parts",
        "roofline",
    ]
    for picture in usual.values():
        assert len(picture.alt) > 20
        assert picture.caption
        with drawing_style():
            assert png(picture.with_title_drawn().figure).startswith(b"\x89PNG")


def test_no_legend_or_title_leaves_the_page(usual: dict[str, Picture]) -> None:
    for picture in usual.values():
        with drawing_style():
            png(picture.figure)
            renderer = picture.figure._get_renderer()
            for legend in picture.figure.legends:
                box = legend.get_window_extent(renderer)
                assert box.x0 >= 0
                assert box.x1 <= picture.figure.bbox.width


def test_a_legends_columns_are_as_many_as_fit() -> None:
    assert fitting_columns(["a", "b"]) == 2
    assert fitting_columns(["word"] * 12) == 6
    assert fitting_columns(["x" * int(WIDTH * 20)] * 3) == 1


def test_the_surface_has_a_cell_a_problem_and_a_panel_a_kernel(usual: dict[str, Picture]) -> None:
    figure = usual["crossover"].figure
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["kernel 3", "kernel 5"]
    assert len(texts(figure)) == len(PROBLEMS)


def speedups(rows_of: Callable[[ConvProblem], float], problems: list, **how: object) -> list[Row]:
    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        return 1e-4 / (rows_of(problem) if backend == "separable" else 1)

    return made.rows(problems, backends=study_of.PAIR, seconds=seconds, **how)


def black_steps(figure: Figure) -> int:
    return sum(line.get_color() == "black" for ax in figure.axes for line in ax.lines)


def test_the_line_parts_what_pays_from_what_does_not(draw: Draw) -> None:
    problems = made.grid((8, 32, 128), (14, 28), (3,))
    picture = draw(speedups(lambda p: 4.0 if p.in_channels >= 32 else 0.5, problems))["crossover"]
    assert black_steps(picture.figure) == 2  # one a column
    assert "4 of the 6 problems" in picture.title
    assert "The black line" in picture.caption


@pytest.mark.parametrize(
    ("speedup", "words"), [(4.0, "in all 4 problems drawn"), (0.5, "in none of the 4")]
)
def test_without_a_line_the_title_says_always_or_never(
    draw: Draw, speedup: float, words: str
) -> None:
    picture = draw(speedups(lambda p: speedup, made.grid((8, 32), (14, 28), (3,))))["crossover"]
    assert black_steps(picture.figure) == 0
    assert words in picture.title
    assert "black line" not in picture.caption


def test_undecided_cells_are_marked(draw: Draw) -> None:
    problems = made.grid((8, 32), (14, 28), (3,))
    picture = draw(speedups(lambda p: 1.0, problems, noise=0.3))["crossover"]
    assert all(text.endswith("?") for text in texts(picture.figure))
    assert len(picture.figure.axes[0].patches) == 4
    assert picture.title == "Whether separable pays is undecided on all 4 cells"
    assert "Hatched" in picture.caption


def test_a_caption_says_what_of_the_verdict_has_no_cell(draw: Draw) -> None:
    problems = [*made.grid((8, 32), (14, 28, 56), (3,)), made.square(4, 7, 3)]
    slow_below = speedups(lambda p: 4.0 if p.in_channels >= 8 else 0.5, problems)
    picture = draw(slow_below)["crossover"]
    assert picture.title.startswith("separable pays in all 6 problems drawn: ")
    assert "Drawn are 6 of the 7 problems of the verdict" in picture.caption


def test_ranks_have_panels_of_their_own(draw: Draw) -> None:
    signals = [ConvProblem(c, c, (s,), 3, padding=1) for c in (8, 32) for s in (100, 200)]
    rows = speedups(
        lambda p: 4.0 if len(p.input_size) == 2 else 0.5,
        [*made.grid((8, 32), (14, 28), (3,)), *signals],
    )
    picture = draw(rows)["crossover"]
    names = [ax.get_title(loc="left") for ax in picture.figure.axes[:2]]
    assert [name[:3] for name in names] == ["1-D", "2-D"]
    assert "4 of the 8 problems drawn" in picture.title


@pytest.mark.parametrize(
    "problems", [made.grid((8, 32), (14,), (3,)), made.grid((8,), (14, 28), (3,))]
)
def test_a_line_of_problems_is_no_surface(draw: Draw, problems: list[ConvProblem]) -> None:
    pictures = draw(speedups(lambda p: 2.0, problems))
    assert "crossover" not in pictures
    assert "predicted_speedup_separable" in pictures


def test_networks_have_no_surface(draw: Draw) -> None:
    rows = [
        replace(row, workload="net", layer=f"{row.in_channels} {row.input_size}")
        for row in speedups(lambda p: 2.0, made.grid((8, 32), (14, 28), (3,)))
    ]
    assert "crossover" not in draw(rows)


def test_panels_are_at_most_six_and_the_caption_counts_the_rest(draw: Draw) -> None:
    problems = [
        made.square(c, s, k, batch_size=n)
        for c in (8, 16) for s in (7, 9) for k in (3, 5) for n in (1, 2, 4, 8)
    ]  # fmt: skip
    picture = draw(speedups(lambda p: 2.0, problems, passes=2))["crossover"]
    assert len(picture.figure.axes) == 6 + 1  # and the bar of colours
    assert "2 panels more" in picture.caption


def test_bars_end_to_end_are_the_whole_time(usual: dict[str, Picture]) -> None:
    parts = usual["separable_parts"].figure.axes[0]
    ends: dict[float, float] = {}
    for bar in parts.patches:
        ends[bar.get_y()] = ends.get(bar.get_y(), 0) + bar.get_width()
    assert len(ends) == len(PROBLEMS)
    assert np.allclose([*ends.values()], 1, atol=0.02)


@pytest.mark.parametrize(
    ("depthwise", "pointwise", "dearest"), [(0.02, 0.9, "depthwise"), (0.9, 0.01, "pointwise")]
)
def test_the_dearest_half_is_in_the_title(
    draw: Draw, depthwise: float, pointwise: float, dearest: str
) -> None:
    seconds = study_of.near_ceilings(0.9, depthwise, pointwise, overhead_s=0)
    title = draw(study_of.rows(made.grid((32, 128), (14,), (3,)), seconds))["separable_parts"].title
    assert title.startswith(f"The {dearest} half takes ")


def test_many_problems_are_picked_from_by_their_work(draw: Draw) -> None:
    many = made.grid((4, 8, 16, 32, 64), (7, 9, 14, 20, 28, 40), (3,))
    picture = draw(study_of.rows(many, passes=2))["separable_parts"]
    assert len(picture.figure.axes[0].get_yticklabels()) == separable_parts.MOST_ROWS
    assert "6 problems more are in the table only" in picture.caption


def test_without_halves_or_ceilings_there_are_no_such_figures(draw: Draw) -> None:
    assert set(draw(speedups(lambda p: 2.0, PROBLEMS, passes=2))) == {
        "predicted_speedup_separable", "crossover"
    }  # fmt: skip


def test_a_point_for_each_case_and_half_lies_under_the_roofs(usual: dict[str, Picture]) -> None:
    ax = usual["roofline"].figure.axes[0]
    points = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in points] == [18, 18, 18, 9]
    assert all(max(line.get_ydata()) < study_of.PEAK_FLOPS_PER_S for line in points)
    roofs = [line for line in ax.lines if line.get_linestyle() != "None"]
    tops = [max(line.get_ydata()) for line in roofs]
    assert np.allclose(tops, study_of.PEAK_FLOPS_PER_S, rtol=0.02)


def test_the_legend_shows_halves_as_hollow_as_their_points(usual: dict[str, Picture]) -> None:
    (legend,) = usual["roofline"].figure.legends
    handles = dict(zip([t.get_text() for t in legend.texts], legend.legend_handles, strict=True))
    hollow = {name for name, line in handles.items() if line.get_markerfacecolor() == "none"}
    assert hollow == {"depthwise part", "pointwise part"}


def test_the_roofline_says_what_is_reached(draw: Draw) -> None:
    seconds = study_of.near_ceilings(0.8, 0.2, 0.5, overhead_s=0)
    title = draw(study_of.rows(PROBLEMS, seconds, noise=1e-4))["roofline"].title
    assert title == (
        "torch_conv on standard layers reaches 80 % of what the machine allows, the depthwise part "
        "20 %, the pointwise part 50 %"
    )


def test_a_ceiling_that_is_surpassed_is_none_in_the_title(draw: Draw) -> None:
    seconds = study_of.near_ceilings(1.5, 0.2, 0.5, overhead_s=0)
    title = draw(study_of.rows(PROBLEMS, seconds, noise=1e-4))["roofline"].title
    assert title == (
        "The measured ceiling is no ceiling for float32: torch_conv on standard layers reaches "
        "150 % of it"
    )


def test_titles_of_one_pass_say_that_there_is_no_interval(draw: Draw) -> None:
    pictures = draw(study_of.rows(PROBLEMS, passes=1))
    for name in ("separable_parts", "roofline"):
        assert pictures[name].title.endswith("(one pass: no interval)")


def test_the_section_has_its_figures_in_order(tmp_path: Path) -> None:
    run = read(tmp_path / "run", study_of.rows(PROBLEMS, passes=2))
    with drawing_style():
        section = study_section.section(run, compare_settings(run))
    assert section is not None
    names = [picture.name for picture in section.pictures]
    assert names == ["predicted_speedup_separable", "crossover", "separable_parts"]
