"""Variants of a backend under another name: the same (A/A test), or slowed by extra calls.

`convsweep noise` counts differences found between a backend and its A/A variant, and slowdowns of
known size that are not found.
"""

import re
from dataclasses import replace
from fractions import Fraction

from convsweep.backends.base import Backend
from convsweep.backends.registry import built_in, list_backends
from convsweep.backends.roofline_probes import PROBE_BACKENDS

_SLOWED = re.compile(r".+\+(\d+)%")


def find_backend(name: str) -> Backend:
    """Return the backend of that name, which may be a variant or a roofline probe.

    Raises:
        KeyError: no backend has the name.
    """
    base = name.rpartition("+")[0]
    known = {**PROBE_BACKENDS, **built_in()}
    if not known.keys() & {name, base}:  # it takes a while to find those of other packages
        known |= list_backends()
    return known[name] if name in known else replace(known[base], name=name)


def extra_work(name: str) -> Fraction:
    """Return the share of uncounted extra calls that a slowed variant makes; 0 for others."""
    match = _SLOWED.fullmatch(name)
    return Fraction(int(match[1]), 100) if match else Fraction(0)
