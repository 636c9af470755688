"""Table of text, as the terminal, Markdown and HTML show it; imports no library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """Heads and rows of cells, all text; the columns in `right` contain numbers."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: frozenset[str] = frozenset()
