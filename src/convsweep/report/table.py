"""Table of text, as the terminal, Markdown and HTML show it; imports no library."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from convsweep.formatting import NO_VALUE


class Table(NamedTuple):
    """Heads and rows of cells, all text; the columns in `right` contain numbers."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    right: frozenset[str] = frozenset()

    @classmethod
    def by_setting(
        cls, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: Collection[str]
    ) -> Table:
        """Return a table; its first column, the setting, is dropped if there is only one."""
        if len({row[0] for row in rows}) < 2:
            heads, rows = heads[1:], [row[1:] for row in rows]
        return cls(heads, rows, frozenset(right))

    @property
    def filled(self) -> Table:
        """The columns in which some cell has a value."""
        places = [
            place
            for place in range(len(self.heads))
            if not self.rows or {row[place] for row in self.rows} - {"", NO_VALUE}
        ]
        heads, *rows = (tuple(row[i] for i in places) for row in (self.heads, *self.rows))
        return Table(heads, rows, self.right)
