"""Appearance of all figures: colour-blind safe colours, markers, legends, PNG."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from convsweep.formatting import shorten, slug
from convsweep.report.plots.canvas import FONT, DataCanvas

WIDTH = 9.0  # inches; at 150 dots per inch twice what a README shows
DPI = 150

# Okabe & Ito (2008), Color Universal Design; yellow last because it is faint on white.
COLORS = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
GREY = "#6b6b6b"
_NO_ROOM = "constrained_layout not applied"  # a warning of matplotlib's
_ENLARGEMENTS, _LARGER = 8, 1.25
_HANDLE, _LETTER = 0.65, 0.078  # inches of a legend's handle and of a letter

_STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": FONT,
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Picture:
    """Figure with its file name, text alternative, and the title and caption around it."""

    name: str
    figure: Figure
    title: str
    alt: str
    caption: str

    def of(self, setting: str) -> Picture:
        """Return the same picture, named and titled after its setting."""
        return replace(self, name=f"{self.name}_{slug(setting)}", title=f"{self.title} ({setting})")


def pictures_by_setting(drawn: Mapping[str, Iterable[Picture | None]]) -> list[Picture]:
    """Return the pictures of all settings, which they name if there are several settings."""
    return [
        picture.of(setting) if len(drawn) > 1 else picture
        for setting, pictures in drawn.items()
        for picture in pictures
        if picture is not None
    ]


def most_wins(winners: Iterable[str], total: int, noun: str) -> str:
    """Return `im2col is fastest in 3 of 4 cases`, of the one that wins most of them."""
    for name, wins in Counter(sorted(winners)).most_common(1):
        return f"{shorten(name)} is fastest in {wins} of {total} {noun}"
    return "No backend is significantly the fastest"


def sentence(*clauses: str, drawn: tuple[int, int], noun: str = "problems") -> str:
    """Return a caption of the clauses that are not empty, and `6 of 8 problems are drawn`."""
    part = "" if drawn[0] == drawn[1] else f"{drawn[0]} of {drawn[1]} {noun} are drawn"
    text = "; ".join(filter(None, (*clauses, part)))
    return text and f"{text}."


LineStyle = Literal["-", "--", ":", "none"]


class Look(NamedTuple):
    """Colour, marker and dashes of one backend or device in all figures of a run."""

    color: str
    marker: str
    linestyle: LineStyle = "none"


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Return one look per name; after eight names colours repeat with other markers."""
    dashes: tuple[LineStyle, ...] = ("-", "--", ":")
    return {
        name: Look(COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)], dashes[i // len(COLORS) % 3])
        for i, name in enumerate(names)
    }


def drawing_style() -> AbstractContextManager[None]:
    """Return the context in which figures are made and saved."""
    return matplotlib.rc_context(_STYLE)


def new_figure(height: float) -> Figure:
    """Return an empty figure as wide as a page, `height` inches high."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    DataCanvas(figure)
    return figure


def new_panel(height: float) -> tuple[Figure, Axes]:
    """Return a figure with one panel."""
    figure = new_figure(height)
    return figure, figure.subplots()


def render(figure: Figure) -> NDArray[np.uint8]:
    """Return the pixels, (height, width, RGBA). A figure without room for its texts gets higher."""
    canvas: Any = DataCanvas(figure)
    for _ in range(_ENLARGEMENTS):
        with drawing_style(), warnings.catch_warnings(record=True) as found:
            warnings.filterwarnings("always", _NO_ROOM)
            canvas.draw()
        if not any(str(one.message).startswith(_NO_ROOM) for one in found):
            break
        figure.set_figheight(_LARGER * figure.get_figheight())
    figure.set_layout_engine("none")  # keeps the places
    return np.asarray(canvas.buffer_rgba())


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG of few colours; the same run gives the same bytes."""
    return pngs([figure])[0]


def pngs(figures: Iterable[Figure]) -> list[bytes]:
    """Return each figure as `png` does; one is encoded while the next one is drawn."""

    def encode(pixels: NDArray[np.uint8]) -> bytes:
        image, file = Image.fromarray(pixels).convert("RGB"), io.BytesIO()
        image.quantize(dither=Image.Dither.NONE).save(file, "png")
        return file.getvalue()

    with ThreadPoolExecutor(1) as pool:
        return [*pool.map(encode, map(render, figures))]


def marker_handle(look: Look, label: str, **more: Any) -> Line2D:
    """Return the legend entry of a marker, or of a line with markers."""
    return Line2D([], [], color=look.color, marker=look.marker, linestyle=look.linestyle,
                  label=label, **more)  # fmt: skip


def legend(
    figure: Figure, shown: dict[str, Look], *, colors: Mapping[str, str] | None = None,
    joined: bool = True, lines: Sequence[Artist] = (),
) -> None:  # fmt: skip
    """Add one legend below all panels: named colours, a marker per look, other labelled artists."""
    handles: list[Artist] = [*color_handles(colors or {})]
    handles += [
        marker_handle(look if joined else look._replace(linestyle="none"), name)
        for name, look in shown.items()
    ]
    handles += lines
    columns = fitting_columns([str(handle.get_label()) for handle in handles])
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def color_handles(colors: Mapping[str, str]) -> list[Patch]:
    """Return one legend entry per name and colour."""
    return [Patch(color=color, label=name) for name, color in colors.items()]


def fitting_columns(entries: Sequence[str]) -> int:
    """Return how many columns of a legend fit on a page, at most six."""
    for columns in range(min(6, len(entries)), 1, -1):
        longest = [max(map(len, part)) for part in np.array_split(entries, columns)]
        if sum(_HANDLE + _LETTER * letters for letters in longest) <= WIDTH:
            return columns
    return 1
