"""Panel of coloured cells, one per number of channels and input size."""

import math
from collections.abc import Callable, Mapping
from typing import Generic, NamedTuple, TypeVar

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from convsweep.problems.problem import Size
from convsweep.report.plots.axes import as_cells, evenly

T = TypeVar("T")
Shape = tuple[tuple[int, int], Size]  # Input and output channels, and input size


class CellPanel(NamedTuple, Generic[T]):
    """Cells by column and row, from 0; channels and sizes are in ascending order."""

    columns: list[Size]
    rows: list[tuple[int, int]]
    cells: Mapping[tuple[int, int], T]


def cell_panel(found: Mapping[Shape, T], most: tuple[int, int]) -> CellPanel[T]:
    """Return the panel; of more columns or rows than `most` some, evenly spread."""
    sizes = sorted({size for _, size in found}, key=lambda size: (math.prod(size), size))
    channels = sorted({channels for channels, _ in found})
    columns = [sizes[at] for at in evenly(len(sizes), most[0])]
    rows = [channels[at] for at in evenly(len(channels), most[1])]
    places = ((x, y) for x in range(len(columns)) for y in range(len(rows)))
    cells = {
        (x, y): found[rows[y], columns[x]] for x, y in places if (rows[y], columns[x]) in found
    }
    return CellPanel(columns, rows, cells)


def draw_cells(ax: Axes, panel: CellPanel[T], color: Callable[[T], str], letters: int) -> None:
    """Draw and label the panel; `letters` is the room for the names of columns."""
    for (x, y), cell in panel.cells.items():
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=color(cell), edgecolor="white",
                               linewidth=1))  # fmt: skip
    names = ["x".join(map(str, dict.fromkeys(size))) for size in panel.columns]
    step = math.ceil(len(names) * (1 + max(map(len, names))) / letters)
    ax.set_xticks(range(0, len(names), step), names[::step])
    ax.set_yticks(range(len(panel.rows)), [str(i) if i == o else f"{i}→{o}" for i, o in panel.rows])
    ax.set(xlim=(-0.5, len(names) - 0.5), ylim=(-0.5, len(panel.rows) - 0.5))
    as_cells(ax)
