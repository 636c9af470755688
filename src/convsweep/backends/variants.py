"""A backend once more under another name: as it is, or with more calls than it is told to make.

What tells a backend from itself is noise, and what misses a known difference is blind: both are
counted by `convsweep noise`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from convsweep.backends.base import Backend
from convsweep.backends.registry import list_backends
from convsweep.backends.roofline_probes import PROBE_BACKENDS

AA_SUFFIX = "+again"
_MORE_WORK = re.compile(r".+\+(\d+)%")


def aa_variant(name: str) -> str:
    """The name under which the backend runs a second time, as it is."""
    return name + AA_SUFFIX


def slowed_variant(name: str, percent: int) -> str:
    """The name under which it makes so many percent more calls than are counted."""
    return f"{name}+{percent}%"


def find_backend(name: str) -> Backend:
    """The backend of that name, which may be a twin's or measure a ceiling."""
    known = {**PROBE_BACKENDS, **list_backends()}
    if name in known:
        return known[name]
    return replace(known[name.rpartition("+")[0]], name=name)


def extra_work(name: str) -> Fraction:
    """What part of its calls a twin makes once more, uncounted; 0 for others."""
    match = _MORE_WORK.fullmatch(name)
    return Fraction(int(match[1]), 100) if match else Fraction(0)
