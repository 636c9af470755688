"""A part of a report: what the data say, the tables and figures that carry it, how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from convsweep.report.plots.style import Picture
from convsweep.report.tables import Table

LONG_TABLE = 12
"""Rows from which on a table is folded."""


class Section(NamedTuple):
    """One part, under a heading of its own."""

    title: str
    sentences: Sequence[str] = ()
    """The finding first; each stands in a line of its own."""
    tables: Sequence[tuple[str, Table]] = ()
    """What each shows, in a few words, and the table."""
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()
    """How it was measured, and what it does not say."""
