"""Hardware that a request is checked against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from convsweep.system.devices import find_device
from convsweep.system.environment import usable_cores


class DeviceInfo(Protocol):
    """A device."""

    @property
    def description(self) -> str:
        """Product name."""

    @property
    def cache_bytes(self) -> int:
        """Size of the largest cache, shared ones in full."""


@dataclass(frozen=True)
class Hardware:
    """Cores and devices of a machine."""

    cores: int
    find_device: Callable[[str], DeviceInfo]
    """Raises `ValueError` for an unknown device."""


def this_machine() -> Hardware:
    """Return the hardware of this process."""
    return Hardware(usable_cores(), find_device)
