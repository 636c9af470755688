"""Texts of a figure as matplotlib's renderer places them."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from convsweep.report.plots.style import WIDTH, render

ROOM = 1.5  # points by which boxes of letters may touch
LEAST_POINTS = 8.0  # of a letter, at the width of a README, where 100 pixels are one inch


def layout_faults(figure: Figure) -> list[str]:
    """Texts that are outside of the figure, overlap, are too small, or are undrawn markup."""
    render(figure)
    texts = visible_texts(figure)
    corners = np.array([_corners(text) for text in texts]).reshape(-1, 4, 2)
    least, most = corners.min(axis=1), corners.max(axis=1)
    room = ROOM * figure.dpi / 72
    outside = ((least < -room) | (most > figure.bbox.size + room)).any(axis=1)
    points = np.array([text.get_fontsize() for text in texts]) * WIDTH / figure.get_figwidth()
    found = {
        "outside": outside,
        f"below {LEAST_POINTS:g} points": points < LEAST_POINTS,
        "markup": np.array(["$" in text.get_text() for text in texts], dtype=bool),
    }
    faults = [
        f"{fault}: {texts[place].get_text()!r}"
        for fault, places in found.items()
        for place in np.flatnonzero(places)
    ]
    overlap = np.minimum(most[:, np.newaxis], most) - np.maximum(least[:, np.newaxis], least)
    pairs = np.argwhere(np.triu((overlap > room).all(axis=2), 1))
    return faults + [
        f"overlap: {texts[one].get_text()!r} and {texts[other].get_text()!r}"
        for one, other in pairs
        if _overlap(corners[one], corners[other]) > room
    ]


def visible_texts(figure: Figure) -> list[Text]:
    """All texts of a figure that are not empty."""
    return [text for text in _texts(figure) if text.get_visible() and text.get_text().strip()]


def _texts(figure: Figure) -> Iterator[Text]:
    yield from figure.texts
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes)]:
        yield from legend.get_texts() if legend else ()
    for ax in figure.axes:
        yield from ax.texts
        if ax.axison:
            yield from (ax.title, ax._left_title, ax._right_title)
            for axis in (ax.xaxis, ax.yaxis):
                yield from (axis.label, axis.offsetText)
                for tick in axis._update_ticks():  # only those within the axis
                    yield from (tick.label1, tick.label2)


def _corners(text: Text) -> np.ndarray:
    """Return the corners of the letters' rectangle, which may be tilted, in pixels."""
    box = Text.get_window_extent(text)  # of an annotation: without its arrow
    center, angle = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2, text.get_rotation()
    size = np.array([box.width, box.height])
    if angle % 90:
        text.set_rotation(0)
        size = np.array(Text.get_window_extent(text).size)
        text.set_rotation(angle)
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[cosine, sine], [-sine, cosine]]) if angle % 90 else np.eye(2)
    return center + (size / 2 * [[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ turn


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the least depth of overlap along the sides of both rectangles."""
    depths = []
    for corners in (one, other):
        for side in (corners[1] - corners[0], corners[3] - corners[0]):
            along = side / np.hypot(*side)
            mine, its = one @ along, other @ along
            depths.append(min(mine.max(), its.max()) - max(mine.min(), its.min()))
    return min(depths)
