"""Texts of a figure as matplotlib's renderer places them."""

from collections.abc import Iterator
from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

ROOM = 1.5  # pixels by which boxes of letters may touch


def layout_faults(figure: Figure) -> list[str]:
    """Texts outside of the figure, pairs of texts that overlap, and undrawn markup."""
    FigureCanvasAgg(figure).draw()
    boxes = [(text, _box(text)) for text in _texts(figure) if text.get_text().strip()]
    width, height = figure.canvas.get_width_height()
    outside = [
        f"outside: {text.get_text()!r}"
        for text, box in boxes
        if min(box.x0, box.y0) < -ROOM or box.x1 > width + ROOM or box.y1 > height + ROOM
    ]
    overlapping = [
        f"overlap: {one.get_text()!r} and {other.get_text()!r}"
        for (one, box), (other, its_box) in combinations(boxes, 2)
        if _overlap(box, its_box) and not _is_tilted(one) and not _is_tilted(other)
    ]
    markup = [f"markup: {text.get_text()!r}" for text, _ in boxes if "$" in text.get_text()]
    return outside + overlapping + markup


def _texts(figure: Figure) -> Iterator[Text]:
    yield from figure.texts
    for legend in figure.legends:
        yield from legend.get_texts()
    for ax in figure.axes:
        yield from ax.texts
        if ax.axison:
            yield from (ax.title, ax._left_title, ax._right_title)
            for axis in (ax.xaxis, ax.yaxis):
                yield axis.label
                for tick in axis._update_ticks():  # only those within the axis
                    yield from (t for t in (tick.label1, tick.label2) if t.get_visible())


def _box(text: Text) -> Bbox:
    return Text.get_window_extent(text)  # of an annotation: without its arrow


def _is_tilted(text: Text) -> bool:
    return text.get_rotation() % 90 != 0  # its box is larger than its letters


def _overlap(one: Bbox, other: Bbox) -> bool:
    return (
        min(one.x1, other.x1) - max(one.x0, other.x0) > ROOM
        and min(one.y1, other.y1) - max(one.y0, other.y0) > ROOM
    )
