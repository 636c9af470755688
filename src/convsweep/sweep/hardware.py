"""What a request needs to know of the hardware that it is for."""

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
        """The product's name."""

    @property
    def cache_bytes(self) -> int:
        """Of its largest cache, shared ones counted whole."""


@dataclass(frozen=True)
class Hardware:
    """What a sweep runs on."""

    cores: int
    find: Callable[[str], DeviceInfo]
    """The device of that name; raises `ValueError` where it is not there."""


def this_machine() -> Hardware:
    """That of this process."""
    return Hardware(usable_cores(), find_device)
