"""Implementations: short names, the map and its borders, ticks in time curves, the table."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep import load
from convsweep.analysis.implementations import read_implementations, short_names
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.problems.grids import GRIDS
from convsweep.problems.problem import ConvProblem
from convsweep.report.plots import implementation_map, sweeps
from convsweep.report.plots.implementation_map import borders
from convsweep.report.plots.style import Picture, drawing_style
from convsweep.report.sections import implementations
from convsweep.results.schema import Row
from tests.support import synthetic_implementations as made
from tests.support.figure_texts import layout_faults
from tests.support.hostile_names import NAMES
from tests.support.synthetic_implementations import ONEDNN
from tests.support.synthetic_runs import square, write

Read = Callable[[Sequence[Row]], Run]
GRID = [square(c, s, 3) for c in made.CHANNELS for s in made.SIZES]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def analysed(rows: Sequence[Row]) -> Run:
        measurements = load(write(tmp_path / "run", rows))
        return read_run(measurements, summarize(measurements))

    return analysed


def drawn(run: Run) -> Picture | None:
    found = read_implementations(run)
    assert found is not None
    with drawing_style():
        return implementation_map.draw(found, run.settings[0])


@given(st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 4)), st.sampled_from("abc")))
def test_a_border_is_between_two_cells_exactly_if_their_implementations_differ(
    cells: dict[tuple[int, int], str],
) -> None:
    lines = borders(cells)
    between = {
        frozenset({(x, y), (x + right, y + 1 - right)})
        for x, y in cells
        for right in (0, 1)
        if (x + right, y + 1 - right) in cells and cells[x, y] != cells[x + right, y + 1 - right]
    }
    assert len(lines) == len(between)
    for (x0, y0), (x1, y1) in lines:
        middle, across = ((x0 + x1) / 2, (y0 + y1) / 2), (y1 - y0, x1 - x0)
        sides = [
            (round(middle[0] + sign * across[0] / 2), round(middle[1] + sign * across[1] / 2))
            for sign in (-1, 1)
        ]
        assert frozenset(sides) in between


def test_names_are_short_and_distinct() -> None:
    names, instruction_set = short_names([ONEDNN.format("jit_dw"), "aten::_slow_conv2d_forward"])
    assert [*names.values()] == ["jit_dw", "slow_conv2d"]
    assert instruction_set == "avx2"
    several, none = short_names(["jit:avx2", "jit:sse41", "aten::bmm + aten::im2col"])
    assert [*several.values()] == ["jit:avx2", "jit:sse41", "bmm + im2col"]
    assert not none
    same = ["aten::mkldnn_convolution + jit", "aten::mkldnn_linear + jit"]
    assert [*short_names(same)[0].values()] == same


@given(st.lists(st.sampled_from([*NAMES, *map("aten::{}".format, NAMES)]), unique=True))
def test_any_names_stay_distinct(names: list[str]) -> None:
    short, _ = short_names(names)
    assert [*short] == names
    assert len({*short.values()}) == len(names)


def test_the_map_has_a_panel_per_kind_and_a_colour_per_implementation(read: Read) -> None:
    run = read(made.implementation_rows())
    picture = drawn(run)
    assert picture is not None
    assert layout_faults(picture.figure) == []
    titles = [ax.get_title(loc="left") for ax in picture.figure.axes if ax.axison]
    assert titles == ["1x1", "3x3", "3x3, 2 groups", "3x3, depthwise", "3x3, dilation 2"]
    colors = [{patch.get_facecolor() for patch in ax.patches} for ax in picture.figure.axes[:5]]
    assert [len(own) for own in colors] == [1, 2, 1, 1, 2]
    assert len(set.union(*colors)) == 4
    lines = [len(ax.collections[0].get_segments()) for ax in picture.figure.axes[:5]]
    assert [bool(number) for number in lines] == [False, True, False, False, True]
    for text in ("torch 2.13.0+cpu", "1 thread", "avx2"):
        assert text in picture.caption
    assert {text.get_text() for text in picture.figure.legends[0].texts} == {
        "slow_conv2d", "jit", "jit_dw", "slow_conv_dilated2d",
    }  # fmt: skip


def test_a_known_family_has_one_colour_in_all_runs_and_colours_are_distinct() -> None:
    colors = implementation_map.implementation_colors
    alone = {name: colors([name])[name] for name in ("jit", "jit_dw", "slow_conv2d", "mine")}
    assert colors([*alone]) == colors([*alone][::-1]) == alone
    assert colors(["jit:avx2"])["jit:avx2"] == colors([ONEDNN.format("jit")]).popitem()[1]
    many = colors([*alone, "jit:avx2", "jit:sse41", *map(str, range(30))])
    assert len({*many.values()}) == len(many) > len(alone)


def test_any_names_have_room_in_the_legend(read: Read) -> None:
    named = dict(zip(GRID, NAMES, strict=False))
    picture = drawn(read(made.implementation_rows(GRID, choose=lambda p, _: named[p], passes=1)))
    assert picture is not None
    faults = layout_faults(picture.figure)
    assert [fault for fault in faults if not fault.startswith("markup")] == []


def test_unknown_implementations_are_missing_cells(read: Read) -> None:
    def some(problem: object, form: str) -> str | None:
        return None if problem in GRID[::3] else made.chosen(problem, form)

    run = read(made.implementation_rows(GRID, choose=some))
    picture = drawn(run)
    assert picture is not None
    assert len(picture.figure.axes[0].patches) == len(GRID) - len(GRID[::3])


def test_operators_that_only_run_primitives_are_not_named() -> None:
    parts = ("mkldnn_prepacked::conv2d_run", "mkldnn::_convolution_pointwise", "jit_1x1:avx2")
    assert [*short_names([" + ".join(parts)])[0].values()] == ["jit_1x1"]


def test_one_implementation_has_no_section(read: Read) -> None:
    run = read(made.implementation_rows(GRID, choose=lambda problem, form: "aten::bmm"))
    assert read_implementations(run) is None
    assert implementations.section(run) is None


def test_no_implementation_or_a_single_size_has_no_section(read: Read) -> None:
    run = read(made.implementation_rows(GRID, choose=lambda problem, form: None))
    assert implementations.section(run) is None


def test_layers_of_a_network_have_a_table_and_no_map(read: Read) -> None:
    rows = made.implementation_rows(GRID)
    run = read([replace(row, workload="net", layer=row.problem) for row in rows])
    section = implementations.section(run)
    assert section is not None
    assert section.tables
    assert not section.pictures


def test_the_table_covers_every_case_once(read: Read) -> None:
    run = read(made.implementation_rows(formats=("contiguous", "channels_last")))
    with drawing_style():
        section = implementations.section(run)
    assert section is not None
    assert len(section.pictures) == 2
    assert len(section.sentence.split()) <= 25
    [(_, table)] = section.tables
    rows = [dict(zip(table.heads, row, strict=True)) for row in table.rows]
    assert {row["library and method"].split(":")[0] for row in rows} == {"PyTorch", "oneDNN"}
    assert sum(int(row["problems"]) for row in rows) == len(run.cases)
    assert {row["reorders per call"] for row in rows} == {"0", "3"}
    values = {(row["layers"], row["implementation"]): row["values of the input"] for row in rows}
    assert values["3x3", "slow_conv2d"] == "196 to 12,544"
    assert values["3x3", "jit"] == "25,088 to 819,200"


def test_a_curve_has_a_tick_exactly_where_its_implementation_changes(read: Read) -> None:
    unknown = square(16, 7, 3)

    def choose(problem: ConvProblem, form: str) -> str | None:
        return None if problem == unknown else made.chosen(problem, form)

    run = read(made.implementation_rows(GRID, choose=choose))
    with drawing_style():
        picture = sweeps.draw(run, sweeps.CHANNELS)
    assert picture is not None
    ticks = [
        float(x)
        for ax in picture.figure.axes
        for line in ax.lines
        if line.get_marker() == "|"
        for x in line.get_xdata()
    ]
    changes = [
        (low * high) ** 0.5
        for size in made.SIZES
        for low, high in zip(made.CHANNELS, made.CHANNELS[1:], strict=False)
        if made.chosen(square(low, size, 3), "contiguous")
        != made.chosen(square(high, size, 3), "contiguous")
    ]
    assert sorted(ticks) == pytest.approx(sorted(changes))


def test_the_named_grid_has_five_kinds_and_two_axes(read: Read) -> None:
    problems = [layer.problem for layer in GRIDS["implementations"].layers()]
    kinds = {(p.kernel_size, p.dilation, min(p.groups, 4) + p.is_depthwise) for p in problems}
    assert len(kinds) == 5
    assert max(problem.macs for problem in problems) < 1e9
