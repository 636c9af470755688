# mypy: disable-error-code="no-untyped-call"
"""Canvas of all figures: every text is data, and drawn in characters that the font has."""

from functools import cache
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font

from convsweep.formatting import visible_escape

FONT, NO_BREAK_SPACE = "DejaVu Sans", "\N{NO-BREAK SPACE}"


def figure_text(text: str) -> str:
    """Return text with visible escapes for the characters that can't be drawn."""
    return "".join(c if c in _drawable() else visible_escape(c) for c in text)


@cache
def _drawable() -> frozenset[str]:
    """Return the printable characters of the font, both regular and bold."""
    fonts = (FontProperties(family=FONT, weight=weight) for weight in ("normal", "bold"))
    regular, bold = (set(map(chr, get_font(findfont(font)).get_charmap())) for font in fonts)
    return frozenset({c for c in regular & bold if c.isprintable()} | {NO_BREAK_SPACE})


class _Renderer(RendererAgg):
    """Measures and draws every text of a figure."""

    def get_text_width_height_descent(self, s: str, *more: Any) -> Any:
        return super().get_text_width_height_descent(figure_text(s), *more)

    def draw_text(self, gc: Any, x: float, y: float, s: str, *more: Any, **options: Any) -> None:
        super().draw_text(gc, x, y, figure_text(s), *more, **options)


class DataCanvas(FigureCanvasAgg):
    """Canvas that draws on such a renderer."""

    def get_renderer(self) -> Any:
        """Return the renderer of this size."""
        found = super().get_renderer()
        if not isinstance(found, _Renderer):
            self.renderer = _Renderer(found.width, found.height, found.dpi)
        return self.renderer
