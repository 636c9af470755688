"""Labels of figures: what varies, unique, of a length that fits; numbers with units."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep import load
from convsweep.analysis.labels import label_cases
from convsweep.analysis.run import read_run
from convsweep.analysis.summary import summarize
from convsweep.formatting import digits, format_ratio, seconds, size_in_bytes, slug
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import workloads
from convsweep.report.plots import layers
from convsweep.report.plots.style import drawing_style
from tests.support import synthetic_runs as made


def test_a_problem_without_what_varies_is_plain(tmp_path: Path) -> None:
    problems = [made.square(16, 14, 3), made.square(16, 14, 3, groups=16)]
    measurements = load(made.write(tmp_path / "run", made.rows(problems, passes=1)))
    assert set(label_cases(measurements)["label"]) == {"plain", "dw"}


def test_labels_hold_what_varies_and_are_unique(tmp_path: Path) -> None:
    problems = [
        *made.grid((4, 16, 64), (7, 14), (1, 3)),
        made.square(16, 14, 3, stride=2),
        made.square(16, 14, 3, groups=16),
    ]
    measurements = load(made.write(tmp_path / "run", made.rows(problems, passes=1)))
    labels = label_cases(measurements).drop_duplicates("problem")["label"]
    assert labels.is_unique
    assert {"C4 7x7 k1", "C16 14x14 k3 s2", "C16 14x14 k3 dw"} <= set(labels)


def test_labels_leave_out_what_does_not_vary(tmp_path: Path) -> None:
    problems = made.grid((4, 16), (14,), (3,))
    measurements = load(made.write(tmp_path / "run", made.rows(problems, passes=1)))
    assert set(label_cases(measurements)["label"]) == {"C4", "C16"}


def test_labels_have_padding_and_weight_if_problems_would_share_them(tmp_path: Path) -> None:
    problem = made.square(16, 14, 3)
    bare = ConvProblem(16, 16, (14, 14), 3)
    rows = made.rows([problem, bare], passes=1)
    rows += [replace(row, weight_kind="dense") for row in made.rows([bare], passes=1)]
    labels = label_cases(load(made.write(tmp_path / "run", rows)))["label"]
    assert set(labels) == {
        f"C16 14x14 k3 {rest}"
        for rest in ("p1 separable weight", "p0 separable weight", "p0 dense weight")
    }


IN_ORDER = {
    "mobilenetv1_100": "conv1 block1.dw block1.pw block2.dw block2.pw block3.dw block3.pw",
    "mobilenetv2_100": "conv_stem blocks.0.0.conv_dw blocks.0.0.conv_pw blocks.1.0.conv_pw "
    "blocks.1.0.conv_dw blocks.1.0.conv_pwl blocks.1.1.conv_pw blocks.1.1.conv_dw",
    "resnet50": "conv1 layer1.0.conv1 layer1.0.conv2 layer1.0.conv3 layer2.0.conv1 layer2.0.conv2",
}


@pytest.mark.parametrize("name", IN_ORDER)
def test_layers_of_a_network_are_in_its_order(name: str, tmp_path: Path) -> None:
    order = IN_ORDER[name].split()
    names = {x.problem.label: x.name for x in workloads()[name] if x.name in order}
    problems = map(ConvProblem.parse, names)
    rows = made.rows(problems, backends=["torch_conv"], passes=1)
    rows = [replace(row, workload=name, layer=names[row.problem]) for row in reversed(rows)]
    assert list(label_cases(load(made.write(tmp_path / "run", rows)))["layer"]) == order


def test_long_names_keep_their_end_and_leave_room_for_the_numbers(tmp_path: Path) -> None:
    rows = [replace(row, layer="features.block." * 4 + str(row.layer)) for row in made.network(2)]
    measurements = load(made.write(tmp_path / "run", rows))
    run = read_run(measurements, summarize(measurements))
    with drawing_style():
        picture = layers.draw(run, "mobilenet_small")
        assert picture is not None
        figure = picture.figure
        figure.draw_without_rendering()
    ax = figure.axes[0]
    assert all(len(tick.get_text()) <= 36 + len("  x5") for tick in ax.get_yticklabels())
    assert ax.get_window_extent().width > 0.5 * figure.bbox.width


def test_numbers_have_three_digits_and_a_unit() -> None:
    assert digits(1234.5) == "1,230"
    assert digits(0.99951) == "1.00"
    assert digits(math.nan) == seconds(math.nan) == "-"
    assert seconds(1.234e-4) == "123 µs"
    assert seconds(0.99999e-3) == "1.00 ms"
    assert size_in_bytes(3 * 2**20) == "3.00 MiB"
    ratios = [format_ratio(x) for x in (48, 4.81, 0.482, 0.0482, 0.00012)]
    assert ratios == ["48", "4.8", "0.48", "0.05", "0.0001"]
    assert slug("cuda:0, float16") == "cuda_0_float16"
