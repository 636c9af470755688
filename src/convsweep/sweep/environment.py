"""Machines that run a request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convsweep.sweep.request import Request
from convsweep.system.environment import describe


@dataclass(frozen=True)
class Environment:
    """Machines with one `environment_id`, and the request that runs on them."""

    request: Request
    metadata: Mapping[str, Any]  # machine, versions and devices, as in environment.json
    process_setup: Mapping[str, object] = field(default_factory=dict)
    """Cores, priority and allocator of its worker processes."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Names of the cluster nodes by id; empty: this machine."""

    @property
    def id(self) -> str:
        """The `environment_id` of the machines."""
        return str(self.metadata["environment_id"])


def this_machine(request: Request) -> Environment:
    """Return this machine, without the setup of its worker processes."""
    return Environment(request, describe(dict(request.device_descriptions)))
