"""Figures of the separable study and of the roofline: marks, panels, numbers of their titles."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from convsweep.analysis.roofline import roofline_efficiencies
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.separable.pairing import compare_separable, compare_settings
from convsweep.analysis.summary import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.report.plots import Picture, crossover, predicted_speedup, roofline
from convsweep.report.plots.style import WIDTH, drawing_style, fitting_columns
from convsweep.report.sections import separable as study_section
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of

PROBLEMS = made.grid((8, 32, 128), (14, 28, 56), (3, 5))
Draw = Callable[[list[Row]], Picture | None]


def read(run_dir: Path, rows: list[Row]) -> Run:
    measurements = load(made.write(run_dir, rows))
    return read_run(measurements, summarize(measurements))


@pytest.fixture
def draw_crossover(tmp_path: Path) -> Draw:
    def draw(rows: list[Row]) -> Picture | None:
        with drawing_style():
            run = read(tmp_path / "run", rows)
            return crossover.draw(run, {"": compare_separable(run)})

    return draw


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Picture]:
    """The three figures of one run, laid out once."""
    seconds = study_of.near_ceilings(0.8, 0.2, 0.5, overhead_s=0)
    rows = study_of.rows(PROBLEMS, seconds, noise=1e-4)
    run = read(tmp_path_factory.mktemp("pictures") / "run", rows)
    found = compare_separable(run)
    with drawing_style():
        drawn = [
            predicted_speedup.draw(run, "separable"),
            crossover.draw(run, {"": found}),
            roofline.draw(run, roofline_efficiencies(run, found)),
        ]
        pictures = {picture.name: picture for picture in drawn if picture is not None}
        for picture in pictures.values():
            picture.figure.draw_without_rendering()
    return pictures


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_a_study_has_three_figures(usual: dict[str, Picture]) -> None:
    names = ["predicted_speedup_separable", "crossover", "roofline"]
    assert list(usual) == names
    for picture in usual.values():
        assert len(picture.alt) > 20
        assert picture.caption.count(". ") <= 1


def test_no_legend_leaves_the_page(usual: dict[str, Picture]) -> None:
    for picture in usual.values():
        for legend in picture.figure.legends:
            box = legend.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= picture.figure.bbox.width


def test_a_legend_has_as_many_columns_as_fit() -> None:
    assert fitting_columns(["a", "b"]) == 2
    assert fitting_columns(["word"] * 12) == 6
    assert fitting_columns(["x" * int(WIDTH * 20)] * 3) == 1


def test_the_surface_has_a_cell_per_problem_and_a_panel_per_kernel(
    usual: dict[str, Picture],
) -> None:
    figure = usual["crossover"].figure
    assert [ax.get_title(loc="left") for ax in figure.axes[:2]] == ["kernel 3", "kernel 5"]
    assert len(texts(figure)) == len(PROBLEMS)
    assert "drawn" not in usual["crossover"].caption  # all are


def speedups(rows_of: Callable[[ConvProblem], float], problems: list, **how: object) -> list[Row]:
    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        return 1e-4 / (rows_of(problem) if backend == "separable" else 1)

    return made.rows(problems, backends=study_of.PAIR, seconds=seconds, **{"passes": 3, **how})


def black_steps(figure: Figure) -> int:
    """Columns of all panels in which the black line is above the lowest cell."""
    steps = [patch.get_data().values for ax in figure.axes for patch in ax.patches
             if isinstance(patch, StepPatch)]  # fmt: skip
    return sum(int((heights > -0.5).sum()) for heights in steps)


def test_the_line_is_where_separable_starts_to_be_faster(draw_crossover: Draw) -> None:
    problems = made.grid((8, 32, 128), (14, 28), (3,))
    rows = speedups(lambda p: 4.0 if p.in_channels >= 32 else 0.5, problems)
    picture = draw_crossover(rows)
    assert black_steps(picture.figure) == 2  # one per column
    assert "faster in 4 of 6 problems" in picture.caption


@pytest.mark.parametrize(("speedup", "wins"), [(4.0, 4), (0.5, 0)])
def test_without_a_difference_there_is_no_line(
    draw_crossover: Draw, speedup: float, wins: int
) -> None:
    picture = draw_crossover(speedups(lambda p: speedup, made.grid((8, 32), (14, 28), (3,))))
    assert black_steps(picture.figure) == 0
    assert f"faster in {wins} of 4 problems" in picture.caption


def test_undecided_cells_are_marked(draw_crossover: Draw) -> None:
    problems = made.grid((8, 32), (14, 28), (3,))
    picture = draw_crossover(speedups(lambda p: 1.0, problems, noise=0.3))
    assert all(text.endswith("?") for text in texts(picture.figure))
    assert len(picture.figure.axes[0].patches) == 4
    assert "faster in 0 of 4 problems" in picture.caption


def test_a_caption_counts_the_problems_without_a_cell(draw_crossover: Draw) -> None:
    problems = [*made.grid((8, 32), (14, 28, 56), (3,)), made.square(4, 7, 3)]
    picture = draw_crossover(speedups(lambda p: 2.0, problems))
    assert "6 of 7 problems" in picture.caption


def test_ranks_have_panels_of_their_own(draw_crossover: Draw) -> None:
    signals = [ConvProblem(c, c, (s,), 3, padding=1) for c in (8, 32) for s in (100, 200)]
    rows = speedups(
        lambda p: 4.0 if len(p.input_size) == 2 else 0.5,
        [*made.grid((8, 32), (14, 28), (3,)), *signals],
    )
    picture = draw_crossover(rows)
    names = [ax.get_title(loc="left") for ax in picture.figure.axes[:2]]
    assert [name[:3] for name in names] == ["1-D", "2-D"]
    assert "faster in 4 of 8 problems" in picture.caption


@pytest.mark.parametrize(
    "problems", [made.grid((8, 32), (14,), (3,)), made.grid((8,), (14, 28), (3,))]
)
def test_a_line_of_problems_is_no_surface(
    draw_crossover: Draw, problems: list[ConvProblem]
) -> None:
    assert draw_crossover(speedups(lambda p: 2.0, problems)) is None


def test_networks_have_no_surface(draw_crossover: Draw) -> None:
    rows = [
        replace(row, workload="net", layer=f"{row.in_channels} {row.input_size}")
        for row in speedups(lambda p: 2.0, made.grid((8, 32), (14, 28), (3,)))
    ]
    assert draw_crossover(rows) is None


def test_panels_are_at_most_six(draw_crossover: Draw) -> None:
    problems = [
        made.square(c, s, k, batch_size=n)
        for c in (8, 16) for s in (7, 9) for k in (3, 5) for n in (1, 2, 4, 8)
    ]  # fmt: skip
    picture = draw_crossover(speedups(lambda p: 2.0, problems, passes=1))
    assert len(picture.figure.axes) == 6 + 1  # and the colour bar
    assert "24 of 32 problems" in picture.caption


def test_without_ceilings_there_is_no_roofline(tmp_path: Path) -> None:
    run = read(tmp_path / "run", speedups(lambda p: 2.0, made.grid((8,), (14, 28), (3,)), passes=1))
    found = compare_separable(run)
    assert roofline.draw(run, roofline_efficiencies(run, found)) is None


def test_a_point_for_each_case_and_part_lies_under_the_roofs(usual: dict[str, Picture]) -> None:
    ax = usual["roofline"].figure.axes[0]
    points = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in points] == [18, 18, 18, 9]
    assert all(max(line.get_ydata()) < study_of.PEAK_FLOPS_PER_S for line in points)
    roofs = [line for line in ax.lines if line.get_linestyle() != "None"]
    tops = [max(line.get_ydata()) for line in roofs]
    assert np.allclose(tops, study_of.PEAK_FLOPS_PER_S, rtol=0.02)


def test_the_legend_shows_parts_as_hollow_as_their_points(usual: dict[str, Picture]) -> None:
    (legend,) = usual["roofline"].figure.legends
    handles = dict(zip([t.get_text() for t in legend.texts], legend.legend_handles, strict=True))
    hollow = {name for name, line in handles.items() if line.get_markerfacecolor() == "none"}
    assert {name.split()[0] for name in hollow} == {"depthwise", "pointwise"}


def test_the_caption_of_the_roofline_has_the_baselines_efficiency(
    usual: dict[str, Picture],
) -> None:
    assert "torch_conv reaches 80 % " in usual["roofline"].caption


def test_the_section_has_its_figures_in_order(tmp_path: Path) -> None:
    problems = made.grid((8, 32), (14, 28), (3,))
    run = read(tmp_path / "run", study_of.rows(problems, passes=1))
    with drawing_style():
        section = study_section.section(run, compare_settings(run), {})
    assert section is not None
    names = [picture.name for picture in section.pictures]
    assert names == ["predicted_speedup_separable", "crossover"]
