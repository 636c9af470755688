"""Why cases were skipped, in a line for each reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from convsweep import formatting

_MOST_REASONS = 10


def reasons(found: Iterable[tuple[str, str, str | None]], *, entirely: bool = False) -> list[str]:
    """A line a reason: `skipped: triton_depthwise: runs on cuda, not on cpu`.

    Those first that keep a backend from all of its cases, then those of most cases.

    Args:
        found: of each case its backend, status and reason.
        entirely: only of backends that were skipped in all of their cases.
    """
    cases = [*found]
    took_part = {backend for backend, status, _ in cases if status != "skipped"}
    why = Counter((str(why), name) for name, status, why in cases if status == "skipped")
    backends: dict[str, list[str]] = {}
    for (reason, name), _ in sorted(
        why.items(), key=lambda one: (one[0][1] in took_part, -one[1], one[0])
    ):
        if not (entirely and name in took_part):
            backends.setdefault(reason, []).append(name)
    lines = [f"skipped: {', '.join(names)}: {reason}" for reason, names in backends.items()]
    left = len(lines) - _MOST_REASONS
    return (
        lines
        if left <= 0
        else [*lines[:_MOST_REASONS], f"skipped for {formatting.count(left, 'more reason')}"]
    )
