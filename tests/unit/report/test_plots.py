"""Figures of grids, devices and networks: marks, panels, and the numbers of their titles."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from convsweep import load
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.report import plots
from convsweep.report.plots import heatmap, layers, predicted_speedup, sweeps
from convsweep.report.plots.axes import evenly, evenly_by_work
from convsweep.report.plots.style import Picture, drawing_style, most_wins, new_figure, png
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made

SMALL = made.grid((4, 16, 64), (7, 14), (1, 3))
PAIR = ("im2col", "torch_conv")
Read = Callable[..., Run]


def read_rows(folder: Path, rows: Sequence[Row], baseline: str = "torch_conv") -> Run:
    measurements = load(made.write(folder, rows))
    return read_run(measurements, summarize(measurements, baseline=baseline))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return lambda rows, **how: read_rows(tmp_path / "run", rows, **how)


def channels_of(run: Run) -> Picture:
    with drawing_style():
        picture = sweeps.draw(run, sweeps.CHANNELS)
    assert picture is not None
    return picture


def heatmap_of(run: Run) -> Picture:
    with drawing_style():
        picture = heatmap.draw(run)
    assert picture is not None
    return picture


def named(pictures: Sequence[Picture]) -> dict[str, Picture]:
    assert len({picture.name for picture in pictures}) == len(pictures)
    return {picture.name: picture for picture in pictures}


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Picture]:
    """The pictures of five backends over a small grid."""
    rows = made.rows(SMALL, passes=3)
    return named(plots.figures(read_rows(tmp_path_factory.mktemp("usual") / "run", rows)))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Picture:
    """The layers of a network; every layer takes 1 ms."""
    rows = [replace(r, median_s=1e-3 if r.status == "ok" else None) for r in made.network(2)]
    pictures = named(plots.figures(read_rows(tmp_path_factory.mktemp("network") / "run", rows)))
    assert "time_by_channels" not in pictures
    return pictures["layers_of_mobilenet_small"]


def lines_with_markers(figure: Figure) -> list[tuple[object, object]]:
    return [
        (line.get_color(), line.get_marker())
        for ax in figure.axes
        for line in ax.lines
        if line.get_marker() != "None" and len(line.get_xdata())
    ]


def cells(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def panel_names(figure: Figure) -> list[str]:
    return [ax.get_title(loc="left").replace("\n", " ") for ax in figure.axes]


def test_figures_of_one_setting_in_order(usual: dict[str, Picture]) -> None:
    assert list(usual) == ["time_by_channels", "speedup"]


def test_every_figure_has_a_title_an_alt_text_and_a_caption(usual: dict[str, Picture]) -> None:
    for picture in usual.values():
        assert len(picture.alt) > 20
        assert picture.caption.count(". ") <= 1
        assert picture.title
        assert not picture.figure.get_suptitle()  # it is the heading


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convsweep.report.plots.style.DPI", 40)
    rows = made.rows(made.grid((4, 16), (14,), (3,)), passes=2, backends=PAIR)
    one, other = (png(heatmap_of(read_rows(tmp_path / n, rows)).figure) for n in ("a", "b"))
    assert one == other
    assert one.startswith(b"\x89PNG")


def test_a_figure_without_room_for_its_panels_gets_larger() -> None:
    figure = new_figure(1.2)
    for panel in figure.subplots(3, 1):
        panel.set_title("title")
        panel.set_xlabel("label\n" * 3)
    png(figure)
    assert all(panel.get_position().height > 0.01 for panel in figure.axes)


def test_one_size_has_no_figure_against_size(read: Read) -> None:
    assert (
        sweeps.draw(read(made.rows(made.grid((4, 16), (14,), (3,)), passes=1)), sweeps.SIZE) is None
    )


def test_each_backend_has_a_line_marker_and_colour_of_its_own(read: Read) -> None:
    figure = channels_of(read(made.rows(made.grid((4, 16, 64), (14,), (3,)), passes=2))).figure
    looks = lines_with_markers(figure)
    assert len(looks) == 4  # pointwise can't do a 3x3 kernel: no line
    assert len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 4


def test_a_timeout_leaves_no_point(read: Read) -> None:
    picture = channels_of(read(made.rows(made.grid((4, 256), (56,), (3,)), passes=2)))
    points = [len(line.get_xdata()) for line in picture.figure.axes[0].lines]
    assert sorted(points) == [1, 2, 2, 2]


def test_panels_are_at_most_six_and_the_caption_counts_the_problems(read: Read) -> None:
    problems = made.grid((4, 16), (7, 9, 14, 28, 56), (3, 5))
    picture = channels_of(read(made.rows(problems, passes=1, backends=PAIR)))
    assert panel_names(picture.figure) == [
        f"kernel {k}, input {s}x{s}" for k in (3, 5) for s in (7, 14, 56)
    ]
    assert "12 of 20 problems" in picture.caption


def test_wider_layers_among_equal_ones_leave_the_lines_of_equal_ones(read: Read) -> None:
    wider = [ConvProblem(c, 2 * c, (s, s), 3, padding=1) for c, s in ((16, 28), (32, 14))]
    problems = [*made.grid((8, 32, 128), (14, 28), (3,)), *wider]
    picture = channels_of(read(made.rows(problems, passes=2, backends=PAIR)))
    assert panel_names(picture.figure) == ["input 14x14", "input 28x28"]
    assert "6 of 8 problems" in picture.caption


def test_long_panel_titles_stay_within_their_panel(read: Read) -> None:
    problems = [
        ConvProblem(c, c, (14, 14), 3, padding=1, stride=s, dilation=d, batch_size=16, bias=b)
        for c in (4, 16) for s in (1, 2) for d in (1, 2) for b in (False, True)
    ]  # fmt: skip
    rows = made.rows(problems, passes=1, backends=PAIR)
    with drawing_style():
        figure = channels_of(read(rows)).figure
        figure.draw_without_rendering()
        for ax in figure.axes:
            title = ax._left_title.get_window_extent()  # type: ignore[attr-defined]
            assert title.width < ax.get_window_extent().width + 20


def test_seconds_read_as_units_on_the_axis(usual: dict[str, Picture]) -> None:
    figure = usual["time_by_channels"].figure
    figure.draw_without_rendering()
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert {"10 µs", "100 µs", "1 ms"} <= set(ticks)


def test_captions_count_what_is_significant(read: Read) -> None:
    run = read(made.rows(made.grid((4, 64, 256), (14, 28), (3,)), noise=1e-4))
    assert channels_of(run).caption.startswith("separable is fastest in 4 of 6 problems")
    with drawing_style():
        picture = predicted_speedup.draw(run, "separable")
    assert picture is not None
    assert "6 of 6" in picture.caption


def test_one_pass_decides_nothing(read: Read) -> None:
    run = read(made.rows(made.grid((4, 16), (7,)), passes=1))
    assert "No backend" in channels_of(run).caption


def test_a_caption_counts_the_wins_of_the_most_frequent_winner() -> None:
    assert most_wins(["b", "a", "b"], 4, "cases") == "b is fastest in 2 of 4 cases"
    assert "No backend" in most_wins([], 4, "cases")


def test_missing_cells_are_words_and_undecided_ones_are_marked(read: Read) -> None:
    texts = cells(heatmap_of(read(made.rows(made.grid((4, 256), (56,)), passes=1))).figure)
    assert "timeout" in texts
    assert "–" in texts  # noqa: RUF001
    assert any(text.endswith("?") for text in texts)
    assert not {"0", "0.0", "nan", "0?", "nan?"} & set(texts)


def test_of_many_problems_some_are_drawn_and_the_caption_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heatmap, "MOST_ROWS", 8)
    for number, sizes in ((6, (7, 9)), (12, (7, 9, 14, 20))):
        rows = made.rows(made.grid((4, 8, 12), sizes, (3,)), passes=1, backends=PAIR)
        picture = heatmap_of(read_rows(tmp_path / str(number), rows))
        assert len(cells(picture.figure)) == 2 * min(8, number)
        assert ("8 of 12 problems" in picture.caption) == (number == 12)


def test_places_are_spread_evenly() -> None:
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(9, 3) == [0, 4, 8]
    assert evenly_by_work([5, 40, 1, 30, 20], 3) == [1, 2, 4]


def test_all_skipped_draws_nothing(read: Read) -> None:
    assert plots.figures(read(made.rows(SMALL, passes=1, judge=lambda *_: ("skipped", "no")))) == []


def test_without_its_baseline_a_run_has_times_and_no_speedups(read: Read) -> None:
    run = read(made.rows(SMALL, passes=1, backends=PAIR), baseline="absent")
    assert list(named(plots.figures(run))) == ["time_by_channels"]


def test_two_devices_have_figures_of_their_own_and_one_side_by_side(read: Read) -> None:
    problems = made.grid((16, 64), (14,), (3,))
    rows = [
        row
        for seed, device in enumerate(("cpu", "cuda"))
        for row in made.rows(problems, passes=3, device=device, seed=seed, backends=PAIR)
    ]
    rows += [replace(row, environment_id="e1", device_name="a device") for row in rows]
    pictures = plots.figures(read(rows))
    own = [one for one in pictures if one.name.startswith("time_by_channels_cpu")]
    assert len(own) == 2
    assert all(len(lines_with_markers(picture.figure)) == 2 for picture in own)
    first, second = (one.caption for one in pictures if one.name == "devices")  # one per machine
    assert "cuda" in first
    assert "4 of 4 cases" in first
    assert "a device" in second
    assert "a device" not in first


def test_two_dtypes_never_share_a_line(read: Read) -> None:
    problems = made.grid((16, 64), (14,), (3,))
    rows = made.rows(problems, passes=2, backends=PAIR)
    rows += [replace(row, dtype="float64") for row in rows]
    pictures = named(plots.figures(read(rows)))
    for name in ("time_by_channels_cpu_float32", "time_by_channels_cpu_float64"):
        for line in pictures[name].figure.axes[0].lines:
            assert len(set(line.get_xdata())) == len(line.get_xdata())


def test_a_network_has_its_layers_and_totals_weighted_by_count(network: Picture) -> None:
    upper, lower = network.figure.axes
    names = [tick.get_text() for tick in upper.get_yticklabels()]
    assert len(names) == 7
    assert any(name.endswith("x5") for name in names)
    assert "17.0 ms" in {text.get_text() for text in lower.texts}  # layers as often as they occur
    assert "pointwise" not in {tick.get_text() for tick in lower.get_yticklabels()}  # 3 of 7 layers


def test_plots_never_import_pyplot() -> None:
    sources = Path(plots.__file__).parent.glob("*.py")
    assert not any("pyplot" in source.read_text(encoding="utf-8") for source in sources)


def test_the_leading_pictures_are_two_of_different_kinds(usual: dict[str, Picture]) -> None:
    of_a_setting = [picture.of("cuda:0") for picture in usual.values()]
    first = plots.leading([*reversed(usual.values()), *of_a_setting])
    assert first[0].name == "time_by_channels"
    assert len({picture.name for picture in first}) == len(first) == 2
    assert plots.leading([]) == []


@pytest.mark.parametrize(("noise", "has_bars"), [(1e-3, True), (2.0, False)])
def test_a_sum_over_layers_has_a_bar_unless_it_is_wide(
    read: Read, noise: float, has_bars: bool
) -> None:
    rows = made.rows([made.square(8, 7, 3)], backends=PAIR, passes=3, noise=noise)
    with drawing_style():
        picture = layers.draw(
            read([replace(row, workload="net", layer="a") for row in rows]), "net"
        )
    assert picture is not None
    [_, sums] = picture.figure.axes
    assert {bool(np.isfinite(bar.get_xdata()).all()) for bar in sums.lines} == {has_bars}
