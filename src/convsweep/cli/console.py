"""Console on which every text is data."""

from typing import Any

from rich.console import Console
from rich.text import Text

from convsweep.formatting import printable


class DataConsole(Console):
    """Prints plain text: no markup, no emoji codes, no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text, such as a table's cell, head or title, for printing."""
        return super().render_str(printable(text), **options)
