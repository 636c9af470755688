"""Implementation by channels and input size: one panel per kind of layer, borders drawn."""

import textwrap
from collections.abc import Iterable, Mapping
from zlib import crc32

from matplotlib.collections import LineCollection
from pandas import DataFrame

from convsweep.analysis.implementations import METHODS, Implementations, family
from convsweep.analysis.labels import name_setting
from convsweep.formatting import shorten
from convsweep.problems.problem import parse_size
from convsweep.report.plots.axes import panel_columns, panel_figure
from convsweep.report.plots.cell_panel import CellPanel, cell_panel, draw_cells
from convsweep.report.plots.style import COLORS, GREY, Picture, legend, sentence
from convsweep.results.machines import short_name

_MOST_PANELS, _MOST_CELLS = 6, (12, 12)
_LINE = 0.17  # inches
_LETTERS, _LONGEST_NAME = 72, 60  # of the names of columns over a page's width; of a name
_OTHERS = "other implementations"
_MORE = ("#332288", "#882255", "#999933", "#661100", "#117733", "#EE99AA", "#44AA99")  # Tol, muted
_OF_FAMILY = dict(zip(METHODS, (*COLORS[1:], *_MORE), strict=False))
_REST = _MORE[len(METHODS) - len(COLORS[1:]) :]
_Border = tuple[tuple[float, float], tuple[float, float]]


def draw(found: Implementations, setting: str) -> Picture | None:
    """Draw the map of one setting; None if it has one implementation, row or column."""
    cases = found.cases[found.cases["setting"] == setting]
    on_grid = cases[cases["workload"].isna()]  # layers of networks share no axis
    panels = [(str(kind), _panel(own)) for kind, own in on_grid.groupby("kind")]
    panels = [(kind, panel) for kind, panel in panels if len(panel.rows) > 1 < len(panel.columns)]
    panels.sort(key=lambda one: -len(one[1].cells))
    panels = sorted(panels[:_MOST_PANELS], key=lambda one: (one[0].count(","), one[0]))
    names = {name for _, panel in panels for name in panel.cells.values()}
    if len(names) < 2:
        return None
    colors = implementation_colors(names)
    rows = max(len(panel.rows) for _, panel in panels)
    shown = {textwrap.fill(name, _LONGEST_NAME): colors[name] for name in colors}
    further_lines = sum(name.count("\n") for name in shown)
    kinds, height = [kind for kind, _ in panels], 0.9 + 0.2 * rows
    letters, more = _LETTERS // panel_columns(len(panels)), 1 + _LINE * further_lines
    figure, grid = panel_figure(
        kinds, "input size", "channels", each=height, more=more, shared=False
    )
    for ax, (_, panel) in zip(grid, panels, strict=True):
        draw_cells(ax, panel, lambda name: colors.get(name, GREY), letters)
        ax.add_collection(LineCollection(borders(panel.cells), colors="black", linewidths=2))
    others = [_OTHERS][: len(names - colors.keys())]
    legend(figure, {}, colors=shown | dict.fromkeys(others, GREY))
    return Picture(
        name="implementation_map",
        figure=figure,
        title=f"Implementations of {shorten(found.backend)} by channels and size",
        alt="Maps of channels by input size, one per kind of layer, one colour per implementation.",
        caption=sentence(
            _where(cases, found.instruction_set),
            "black lines are borders",
            drawn=(sum(len(panel.cells) for _, panel in panels), len(cases)),
        ),
    )


def _panel(cases: DataFrame) -> CellPanel[str]:
    """Return the panel of one kind; of several layers in one place the one with most MACs."""
    found = {
        ((case["in_channels"], case["out_channels"]), parse_size(case["input_size"])): case["name"]
        for case in cases.sort_values("macs", kind="stable").to_dict("records")
    }
    return cell_panel(found, _MOST_CELLS)


def implementation_colors(names: Iterable[str]) -> dict[str, str]:
    """Return distinct colours, the same in each run for a known family; some have none."""
    colors: dict[str, str] = {}
    for name in sorted(names):
        start = crc32(name.encode()) % len(_REST)
        wanted = (_OF_FAMILY.get(family(name)), *_REST[start:], *_REST[:start])
        if free := [color for color in wanted if color and color not in colors.values()]:
            colors[name] = free[0]
    return colors


def borders(cells: Mapping[tuple[int, int], str]) -> list[_Border]:
    """Return a line between each two neighbours with different implementations."""
    right, above = ((0.5, -0.5), (0.5, 0.5)), ((-0.5, 0.5), (0.5, 0.5))
    return [
        ((x + start[0], y + start[1]), (x + end[0], y + end[1]))
        for (x, y), name in cells.items()
        for neighbour, (start, end) in (((x + 1, y), right), ((x, y + 1), above))
        if cells.get(neighbour, name) != name
    ]


def _where(cases: DataFrame, instruction_set: str) -> str:
    """Return `torch 2.13.0, AMD EPYC, 1 thread, avx2`, of what the run records."""
    versions = cases["backend_version"].dropna().unique()
    devices = cases["device_name"].dropna().map(short_name).unique()
    threads = [name_setting("threads", number) for number in cases["threads"].unique()]
    return ", ".join(filter(None, (*versions, *devices, *threads, instruction_set)))
