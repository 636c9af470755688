import csv
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import CONVBENCH, PROBLEM_COLUMNS, read_problems, workloads
from tests.support.strategies import conv_problems

NETWORKS = [name for name in workloads() if name != CONVBENCH]
GOOD = ConvProblem(4, 8, (9, 9), 3, padding=1)
HEADER = ",".join(PROBLEM_COLUMNS)


def values_of(problem: ConvProblem) -> tuple[int, ...]:
    """The cells of a problem's row, in the order of `PROBLEM_COLUMNS`."""
    return (
        problem.batch_size,
        problem.in_channels,
        *problem.input_size,
        problem.out_channels,
        *problem.kernel_size,
        *problem.stride,
        *problem.padding,
        *problem.dilation,
        problem.groups,
        int(problem.bias),
    )


def text_of(*problems: ConvProblem, newline: str = "\n") -> str:
    lines = [HEADER, *(",".join(map(str, values_of(problem))) for problem in problems)]
    return newline.join(lines) + newline


def row_with(**cells: str) -> str:
    """A good problem's row with some cells changed."""
    row = dict(zip(PROBLEM_COLUMNS, map(str, values_of(GOOD)), strict=True))
    return ",".join((row | cells).values())


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("problems") / "some problems.csv"


def read_back(path: Path, text: str, encoding: str = "utf-8") -> list[ConvProblem]:
    path.write_bytes(text.encode(encoding))
    return [layer.problem for layer in read_problems(path).layers]


def refusal(path: Path) -> str:
    """Why the file is refused, in one line that names it."""
    with pytest.raises(ValueError, match=r".") as raised:
        read_problems(path)
    message = str(raised.value)
    assert repr(str(path)) in message
    assert message.isprintable()
    assert len(message) < 1000
    return message


def test_fourteen_networks_a_standard_twin_and_the_convbench_sample_are_shipped() -> None:
    assert len(NETWORKS) == 14 + 1
    assert len(workloads()[CONVBENCH]) == 300
    assert {"mobilenetv1_100", "mobilenetv2_100", "resnet18", "resnet50", "vgg16"} <= set(NETWORKS)


@pytest.mark.parametrize(
    ("network", "macs"),
    [
        ("resnet50", 4.09e9),
        ("vgg16", 15.47e9),
        ("mobilenetv2_100", 0.299e9),
        ("mobilenetv1_100", 0.568e9),
    ],
)
def test_a_networks_work_is_what_its_paper_says(network: str, macs: float) -> None:
    total = sum(layer.count * layer.problem.macs for layer in workloads()[network])
    assert total == pytest.approx(macs, rel=0.01)


@pytest.mark.parametrize("name", workloads())
def test_a_layer_knows_its_network_its_name_and_how_often_it_occurs(name: str) -> None:
    layers = workloads()[name]
    assert all(layer.workload == name and layer.count >= 1 for layer in layers)
    names = [layer.name for layer in layers]
    assert all(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("network", NETWORKS)
def test_one_layer_of_a_network_takes_the_image(network: str) -> None:
    stems = [layer for layer in workloads()[network] if layer.problem.in_channels == 3]
    assert [layer.count for layer in stems] == [1]


def test_the_sample_has_sixty_problems_of_each_kind() -> None:
    kinds = Counter((layer.name or "").partition(".")[0] for layer in workloads()[CONVBENCH])
    assert len(kinds) == 5
    assert set(kinds.values()) == {60}


def test_the_samples_recorded_work_is_the_problems_own() -> None:
    with (
        files("convsweep.problems.workloads")
        .joinpath(f"{CONVBENCH}.csv")
        .open(encoding="utf-8") as file
    ):
        recorded = [int(row["macs"]) for row in csv.DictReader(file)]
    assert recorded == [layer.problem.macs for layer in workloads()[CONVBENCH]]


def test_the_layers_ship_with_their_sources() -> None:
    text = files("convsweep.problems.workloads").joinpath("SOURCES.md").read_text(encoding="utf-8")
    assert all(word in text for word in ("models.csv", f"{CONVBENCH}.csv", "ConvBench", "MIT"))


@settings(max_examples=40)
@given(st.lists(conv_problems(ranks=(2,)), min_size=1, max_size=5))
def test_problems_written_to_a_file_are_read_back(
    path: Path, problems: Sequence[ConvProblem]
) -> None:
    assert read_back(path, text_of(*problems)) == problems


def test_a_plain_file_names_no_network(path: Path) -> None:
    path.write_text(text_of(GOOD))
    [layer] = read_problems(path).layers
    assert (layer.problem, layer.workload, layer.name, layer.count) == (GOOD, None, None, 1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_any_programs_csv_is_read(path: Path, newline: str, encoding: str) -> None:
    assert read_back(path, text_of(GOOD, GOOD, newline=newline), encoding) == [GOOD, GOOD]


@pytest.mark.parametrize(
    "text",
    [
        text_of(GOOD).rstrip("\n"),
        text_of(GOOD) + "\n\n",
        f"{HEADER}\n{row_with(groups=' 1 ', bias='0 ')}\n",
        f"{HEADER}\n{row_with(groups='01', in_channels='004')}\n",
        HEADER + "\n" + ",".join(f'"{cell}"' for cell in row_with().split(",")) + "\n",
        f"name,{HEADER},count\n\u03b1,{row_with()},many\n",
        f'{HEADER},note\n{row_with()},"two\nlines, ""quoted"""\n',
        f"{HEADER}\n{row_with()},more,cells\n",
        "\n".join(",".join(line.split(",")[::-1]) for line in text_of(GOOD).splitlines()),
    ],
    ids=[
        "no newline at the end",
        "blank lines",
        "spaces",
        "leading zeros",
        "quotes",
        "further columns",
        "lines in a further column",
        "further cells",
        "columns in any order",
    ],
)
def test_what_is_beside_the_numbers_does_not_matter(path: Path, text: str) -> None:
    assert read_back(path, text) == [GOOD]


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "commas and the columns batch_size"),
        (b"\n\n", "commas and the columns batch_size"),
        (b"batch_size;in_channels\n1;4\n", "commas and the columns batch_size"),
        (HEADER.encode(), "no problem below its header"),
        (f"{HEADER}\n\n".encode(), "no problem below its header"),
        (bytes(range(256)) * 8, "not a"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a"),
        (text_of(GOOD).encode("utf-16"), "UTF-8"),
        (text_of(GOOD).encode() + b"\xff\xfe\n", "UTF-8"),
        (f"{HEADER}\n{row_with(groups=chr(0))}\n".encode(), "line 2"),
        (f"{HEADER}\n{row_with(groups='1' * 1_000_000)}\n".encode(), "line 2"),
        (f'{HEADER}\n"{row_with()}\n'.encode() + b"1\n" * 200_000, "not a"),
    ],
    ids=[
        "empty",
        "blank",
        "semicolons",
        "header",
        "header and blank",
        "binary",
        "picture",
        "utf-16",
        "broken utf-8",
        "NUL",
        "a field of 1 MB",
        "a quote that never ends",
    ],
)
def test_a_file_that_holds_no_problems_is_refused_by_name(
    path: Path, content: bytes, named: str
) -> None:
    path.write_bytes(content)
    assert named in refusal(path)


@pytest.mark.parametrize("column", PROBLEM_COLUMNS)
def test_a_missing_column_is_named_and_so_are_those_needed(path: Path, column: str) -> None:
    path.write_text(text_of(GOOD).replace(column, "other", 1))
    message = refusal(path)
    assert f"no column {column!r}" in message
    assert ", ".join(PROBLEM_COLUMNS) in message


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.csv")
    assert "directory" in refusal(tmp_path)
    (tmp_path / "file").touch()
    assert "directory" in refusal(tmp_path / "file" / "below.csv")


@pytest.mark.parametrize("column", PROBLEM_COLUMNS)
@pytest.mark.parametrize("cell", ["", "many", "-1", "1.5", "nan", "\u0664", "9" * 10, "1 2", "0x1"])
def test_a_cell_that_is_no_number_is_named_with_its_line(
    path: Path, column: str, cell: str
) -> None:
    path.write_text(text_of(GOOD) + row_with(**{column: cell}) + "\n", encoding="utf-8")
    message = refusal(path)
    assert "line 3: " in message
    assert f"{column}={cell!r}" in message


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        *((c, "0") for c in PROBLEM_COLUMNS if c not in ("pad_h", "pad_w", "bias")),
        ("bias", "2"),
    ],
)
def test_a_number_that_is_too_small_or_large_is_named_with_its_line(
    path: Path, column: str, cell: str
) -> None:
    path.write_text(text_of(GOOD) + row_with(**{column: cell}) + "\n")
    message = refusal(path)
    assert "line 3: " in message
    assert f"{column}={cell!r}" in message


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        ({"groups": "3"}, "groups=3 does not divide in_channels=4"),
        ({"groups": "4", "out_channels": "6"}, "groups=4 does not divide out_channels=6"),
        ({"kernel_h": "12"}, "kernel_size 12x3"),
        ({"kernel_w": "5", "dilation_w": "3"}, "dilation 1x3"),
    ],
)
def test_an_impossible_problem_is_named_with_its_line(
    path: Path, cells: dict[str, str], named: str
) -> None:
    path.write_text(text_of(GOOD, GOOD) + row_with(**cells) + "\n" + text_of(GOOD))
    message = refusal(path)
    assert "line 4: " in message
    assert named in message


def test_a_row_that_ends_early_is_named_with_its_line(path: Path) -> None:
    path.write_text(text_of(GOOD) + "1,4\n")
    assert "line 3: height=None" in refusal(path)
