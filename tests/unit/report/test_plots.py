import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from convsweep import load
from convsweep.analysis.labels import label_cases
from convsweep.analysis.run import read_run
from convsweep.analysis.separable.pairing import compare_settings
from convsweep.analysis.summary import summarize
from convsweep.formatting import digits, format_ratio, seconds, size_in_bytes, slug
from convsweep.problems.problem import ConvProblem
from convsweep.report import plots
from convsweep.report.plots.style import drawing_style
from convsweep.report.sections import separable as study_section
from tests.support import synthetic_runs as made

SMALL = made.grid((4, 16, 64), (7, 14), (1, 3))


def draw(tmp_path: Path, rows: list, baseline: str = "torch_conv") -> dict[str, plots.Picture]:
    measurements = load(made.write(tmp_path / "run", rows))
    summary = summarize(measurements, baseline=baseline)
    with drawing_style():
        run = read_run(measurements, summary)
        study = study_section.section(run, compare_settings(run))
        drawn = [picture.with_title_drawn() for picture in study.pictures] if study else []
    pictures = plots.figures(read_run(measurements, summary)) + drawn
    assert len({picture.name for picture in pictures}) == len(pictures)
    return {picture.name: picture for picture in pictures}


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, plots.Picture]:
    """The pictures of five backends over a small grid."""
    return draw(tmp_path_factory.mktemp("usual"), made.rows(SMALL))


def lines_with_markers(figure: Figure) -> list[tuple]:
    return [
        (line.get_color(), line.get_marker())
        for ax in figure.axes
        for line in ax.lines
        if line.get_marker() != "None" and len(line.get_xdata())
    ]


def cells(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_a_grid_gives_the_figures_of_one_setting_in_order(usual):
    own = ["time_by_channels", "time_by_size", "speedup"]
    assert list(usual) == [*own, "predicted_speedup_separable", "crossover"]


def test_every_figure_draws_without_a_warning_and_says_what_it_is(usual):
    for picture in usual.values():
        assert plots.png(picture.figure).startswith(b"\x89PNG")
        assert picture.title
        assert picture.caption
        assert len(picture.alt) > 20
        drawn = picture.figure.get_suptitle().replace("\n", " ").replace("\xa0", " ")
        assert drawn == picture.title


def test_the_same_run_gives_the_same_bytes(tmp_path):
    rows = made.rows(made.grid((4, 16), (14,), (3,)))
    first, second = (draw(tmp_path / name, rows)["speedup"] for name in ("a", "b"))
    assert plots.png(first.figure) == plots.png(second.figure)


def test_one_size_has_no_figure_against_size(tmp_path):
    assert "time_by_size" not in draw(tmp_path, made.rows(made.grid((4, 16), (14,), (3,))))


def test_a_line_a_backend_each_with_a_marker_and_colour_of_its_own(tmp_path):
    figure = draw(tmp_path, made.rows(made.grid((4, 16, 64), (14,), (3,))))[
        "time_by_channels"
    ].figure
    looks = lines_with_markers(figure)
    assert len(looks) == 4  # pointwise can't do a 3x3 kernel: no line
    assert len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 4


def test_a_timeout_leaves_no_point_and_the_caption_counts_it(tmp_path):
    problems = made.grid((4, 256), (56,), (3,))
    picture = draw(tmp_path, made.rows(problems))["time_by_channels"]
    assert "loop 1 (timeout)" in picture.caption
    points = [len(line.get_xdata()) for line in picture.figure.axes[0].lines]
    assert sorted(points) == [1, 2, 2, 2]


def test_panels_are_at_most_six_and_the_caption_counts_the_rest(tmp_path):
    problems = made.grid((4, 16), (7, 9, 14, 28, 56), (1, 3))
    picture = draw(tmp_path, made.rows(problems, passes=2))["time_by_channels"]
    assert len(picture.figure.axes) == 6
    assert picture.caption.count("Drawn are 12 of 20 problems") == 1
    assert picture.caption.count("No panel is drawn of input ") == 1


def slow_at(size: int):
    """Separable is the faster one but at this size."""

    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        factor = 4 if problem.input_size[0] == size else 0.25
        return 1e-4 * (factor if backend == "separable" else 1)

    return seconds


def test_a_title_speaks_of_the_problems_drawn_and_the_caption_of_the_others(tmp_path):
    problems = made.grid((4, 16), (7, 9, 11, 14, 28, 42, 56), (3,))
    rows = made.rows(problems, backends=("torch_conv", "separable"), seconds=slow_at(14))
    picture = draw(tmp_path, rows)["time_by_channels"]
    names = [ax.get_title(loc="left") for ax in picture.figure.axes]
    (gone,) = {f"input {s}x{s}" for s in (7, 9, 11, 14, 28, 42, 56)} - set(names)
    assert picture.title.startswith("Fastest of the 12 problems drawn: ")
    assert f"No panel is drawn of {gone}." in picture.caption
    assert "Drawn are 12 of 14 problems" in picture.caption


def test_where_all_is_drawn_no_title_speaks_of_a_part(usual):
    assert "drawn" not in usual["time_by_channels"].title
    assert "Drawn are" not in usual["time_by_channels"].caption


def test_wider_layers_among_equal_ones_leave_the_lines_of_equal_ones(tmp_path):
    wider = [ConvProblem(c, 2 * c, (s, s), 3, padding=1) for c, s in ((16, 28), (32, 14))]
    problems = [*made.grid((8, 32, 128), (14, 28), (3,)), *wider]
    picture = draw(tmp_path, made.rows(problems))["time_by_channels"]
    names = [ax.get_title(loc="left") for ax in picture.figure.axes]
    assert names == ["input 14x14", "input 28x28"]
    assert "Fastest of the 6 problems drawn" in picture.title


def test_seconds_read_as_units_on_the_axis(usual):
    figure = usual["time_by_channels"].figure
    plots.png(figure)
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert {"10 µs", "100 µs", "1 ms"} <= set(ticks)


def test_other_data_give_another_title(tmp_path, usual):
    def slow_separable(problem: ConvProblem, backend: str, device: str) -> float:
        return made.modelled_s(problem, backend, device) * (50 if backend == "separable" else 1)

    other = draw(tmp_path, made.rows(SMALL, seconds=slow_separable))
    for name in ("time_by_channels", "speedup", "predicted_speedup_separable"):
        assert other[name].title != usual[name].title


def test_titles_say_the_finding(tmp_path):
    pictures = draw(tmp_path, made.rows(made.grid((4, 64, 256), (14, 28), (3,)), noise=1e-4))
    assert pictures["predicted_speedup_separable"].title == (
        "separable is 3.6 to 4.8 times as fast as torch_conv from 64 channels on; "
        "MACs promise 7.9 to 8.7 times there"
    )
    assert pictures["speedup"].title.startswith("Faster than torch_conv: separable in 4 of 6")
    assert "separable from 64 channels on" in pictures["time_by_channels"].title


def test_a_title_never_claims_what_is_not_decided(tmp_path):
    pictures = draw(tmp_path, made.rows(SMALL, passes=1))
    assert pictures["time_by_channels"].title == (
        "Time against channels: no backend is clearly the fastest"
    )
    assert pictures["speedup"].title == "No speedup over torch_conv is decided"
    assert pictures["predicted_speedup_separable"].title.endswith("no difference is decided")
    assert all("One pass gives no interval" in pictures[n].caption for n in
               ("time_by_channels", "predicted_speedup_separable"))  # fmt: skip


def test_nothing_is_claimed_where_backends_are_alike(tmp_path):
    rows = made.rows(SMALL, seconds=lambda *_: 1e-3, noise=0.05)
    pictures = draw(tmp_path, rows)
    assert "no backend is clearly the fastest" in pictures["time_by_channels"].title


def test_missing_cells_are_words_and_undecided_ones_are_marked(tmp_path):
    picture = draw(tmp_path, made.rows(made.grid(), passes=1))["speedup"]
    said = cells(picture.figure)
    assert "timeout" in said
    assert "–" in said  # noqa: RUF001
    assert any(text.endswith("?") for text in said)
    assert not {"0", "0.0", "nan", "0?", "nan?"} & set(said)
    assert "question mark" in picture.caption
    assert "dash" in picture.caption


def test_sixty_problems_are_all_drawn_and_two_hundred_are_picked_from(tmp_path):
    sixty = made.grid((4, 8, 12, 16, 24, 32), (7, 9, 14, 20, 28), (1, 3))
    picture = draw(tmp_path / "a", made.rows(sixty, passes=1))["speedup"]
    assert len([ax for ax in picture.figure.axes if ax.get_yticklabels()]) >= 2
    assert len(cells(picture.figure)) == 60 * 5
    many = made.grid(range(4, 44), (7, 9, 14, 20, 28), (1,))
    picture = draw(tmp_path / "b", made.rows(many, passes=1, backends=("im2col", "torch_conv")))[
        "speedup"
    ]
    assert len(cells(picture.figure)) == 80 * 2
    assert "120 problems more are in the table only" in picture.caption


def test_all_skipped_draws_nothing(tmp_path):
    rows = made.rows(SMALL, judge=lambda *_: ("skipped", "not here"))
    assert draw(tmp_path, rows) == {}


def test_without_its_baseline_a_run_has_times_and_no_speedups(tmp_path):
    pictures = draw(tmp_path, made.rows(SMALL), baseline="absent")
    assert list(pictures) == ["time_by_channels", "time_by_size"]


def test_two_devices_have_figures_of_their_own_and_one_side_by_side(tmp_path):
    problems = made.grid((16, 64), (14,), (3,))
    rows = made.rows(problems) + made.rows(problems, device="cuda", seed=1)
    pictures = draw(tmp_path, rows)
    assert {"time_by_channels_cpu", "time_by_channels_cuda", "devices"} <= set(pictures)
    assert pictures["devices"].title.startswith("cuda is ")
    assert len(lines_with_markers(pictures["time_by_channels_cpu"].figure)) == 4


def test_devices_of_two_machines_are_in_two_figures(tmp_path):
    problems = made.grid((16, 64), (14,), (3,))
    rows = made.rows(problems) + made.rows(problems, device="cuda", seed=1)
    rows += [replace(row, environment_id="e1", device_name="a device") for row in rows]
    pictures = draw(tmp_path, rows)
    assert {"devices", "devices_2"} <= set(pictures)
    assert "a device" in pictures["devices_2"].title
    assert "a device" not in pictures["devices"].title


def test_two_dtypes_never_share_a_line(tmp_path):
    problems = made.grid((16, 64), (14,), (3,))
    rows = made.rows(problems)
    rows += [replace(row, dtype="float64") for row in made.rows(problems, seed=1)]
    pictures = draw(tmp_path, rows)
    assert {"time_by_channels_cpu_float32", "time_by_channels_cpu_float64"} <= set(pictures)
    for name in ("time_by_channels_cpu_float32", "time_by_channels_cpu_float64"):
        for line in pictures[name].figure.axes[0].lines:
            assert len(set(line.get_xdata())) == len(line.get_xdata())


def test_a_network_has_its_layers_and_totals_weighted_by_count(tmp_path):
    pictures = draw(tmp_path, made.network())
    assert "time_by_channels" not in pictures
    picture = pictures["layers_of_mobilenet_small"]
    assert picture.title.startswith("mobilenet_small: torch_conv is the fastest over all 7 layers")
    assert "pointwise" in picture.alt
    assert "3 of 7 layers" in picture.alt
    names = [tick.get_text() for tick in picture.figure.axes[0].get_yticklabels()]
    assert len(names) == 7
    assert any(name.endswith("x5") for name in names)


def test_the_total_of_a_network_is_its_layers_as_often_as_they_occur(tmp_path):
    rows = [replace(row, median_s=1e-3 if row.status == "ok" else None) for row in made.network()]
    assert "torch_conv 17.0 ms" in draw(tmp_path, rows)["layers_of_mobilenet_small"].title


def test_a_problem_without_what_varies_is_plain(tmp_path):
    problems = [made.square(16, 14, 3), made.square(16, 14, 3, groups=16)]
    measurements = load(made.write(tmp_path / "run", made.rows(problems, passes=1)))
    assert set(label_cases(measurements)["label"]) == {"plain", "dw"}


def test_labels_hold_what_varies_and_are_unique(tmp_path):
    problems = [*SMALL, made.square(16, 14, 3, stride=2), made.square(16, 14, 3, groups=16)]
    measurements = load(made.write(tmp_path / "run", made.rows(problems, passes=1)))
    labels = label_cases(measurements).drop_duplicates("problem")["label"]
    assert labels.is_unique
    assert {"C4 7x7 k1", "C16 14x14 k3 s2", "C16 14x14 k3 dw"} <= set(labels)


def test_labels_leave_out_what_does_not_vary(tmp_path):
    problems = made.grid((4, 16), (14,), (3,))
    measurements = load(made.write(tmp_path / "run", made.rows(problems, passes=1)))
    assert set(label_cases(measurements)["label"]) == {"C4", "C16"}


def test_padding_and_weight_are_said_where_problems_would_share_a_label(tmp_path):
    problem = made.square(16, 14, 3)
    bare = ConvProblem(16, 16, (14, 14), 3)
    rows = made.rows([problem, bare], passes=1)
    rows += [replace(row, weight_kind="dense") for row in made.rows([bare], passes=1)]
    labels = label_cases(load(made.write(tmp_path / "run", rows)))["label"]
    assert set(labels) == {
        f"C16 14x14 k3 {rest}"
        for rest in ("p1 separable weight", "p0 separable weight", "p0 dense weight")
    }


def test_long_names_keep_their_end_and_leave_room_for_the_numbers(tmp_path):
    rows = [replace(row, layer="features.block." * 4 + str(row.layer)) for row in made.network(2)]
    figure = draw(tmp_path, rows)["speedup"].figure
    plots.png(figure)
    ax = figure.axes[0]
    assert all(len(tick.get_text()) <= 36 for tick in ax.get_yticklabels())
    assert ax.get_window_extent().width > 0.5 * figure.bbox.width


def test_numbers_have_three_digits_and_a_unit():
    assert digits(1234.5) == "1,230"
    assert digits(0.99951) == "1.00"
    assert digits(math.nan) == seconds(math.nan) == "not measured"
    assert seconds(1.234e-4) == "123 µs"
    assert seconds(0.99999e-3) == "1.00 ms"
    assert size_in_bytes(3 * 2**20) == "3.00 MiB"
    assert [format_ratio(x) for x in (48, 4.81, 0.482, 0.0482, 0.00012)] == [
        "48",
        "4.8",
        "0.48",
        "0.05",
        "0.0001",
    ]
    assert slug("cuda:0, float16") == "cuda_0_float16"


def test_plots_need_no_torch_and_no_pyplot():
    code = (
        "import sys, convsweep.report.build;"
        "sys.exit(bool({'torch', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
