"""This machine and these versions, as far as a choice of backends depends on them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

import psutil

from convsweep import __version__
from convsweep.system.devices import cpu_name


@cache
def here() -> tuple[str, ...]:
    """Processor, logical cores, torch's version and convsweep's: in the order of best.csv."""
    return cpu_name(), str(psutil.cpu_count()), version("torch"), __version__
