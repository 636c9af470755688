"""What a node does in its slot: one group of cases, or one network, as on a machine alone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache
from time import monotonic

from convsweep.admission import why_not
from convsweep.cluster.cores import spare_cores
from convsweep.company import Company, launch_child
from convsweep.conductor import Conductor, Truths
from convsweep.grid import Case
from convsweep.networks.timing import NetworkTimes
from convsweep.networks.visits import Network, visit
from convsweep.pacing import memory_limit
from convsweep.record import Outcome
from convsweep.twins import find_backend
from convsweep.worker import Settings


@dataclass(frozen=True)
class Measured:
    """What came of a group of cases on a node."""

    outcomes: tuple[tuple[Case, Outcome], ...]
    phases_s: dict[str, float] = field(default_factory=dict)
    """Where the node's time went."""


@dataclass(frozen=True)
class Timed:
    """What came of a network on a node."""

    found: NetworkTimes | Outcome
    spent_s: float


def measure(cases: Sequence[Case], settings: Settings) -> Measured:
    """One pass' visit to cases of one problem, in fresh measuring processes."""
    backends = {case.backend: find_backend(case.backend) for case in cases}
    skipped = {case: skip for case in cases if (skip := why_not(case, backends[case.backend]))}
    outcomes, phases_s = list(skipped.items()), dict[str, float]()
    own = _here(settings, cases)
    company = Company(own, phases_s, launch_child)
    with closing(Conductor(company, backends, _truths())) as conductor:
        outcomes += conductor.measure([case for case in cases if case not in skipped])
    return Measured(tuple(outcomes), phases_s)


def time_network(network: Network, settings: Settings, pass_index: int) -> Timed:
    """One visit to a whole network."""
    started = monotonic()
    own = _here(replace(settings, threads=network.threads), [network])
    return Timed(visit(network, own, pass_index, launch_child), monotonic() - started)


def _here(settings: Settings, on: Sequence[Case | Network]) -> Settings:
    """The settings with what only the node knows: its cores and how much memory is free."""
    return replace(
        settings,
        cores=spare_cores(settings.threads),
        memory_limit_bytes=memory_limit({one.device for one in on}),
    )


@cache
def _truths() -> Truths:
    """Those that this node has computed, as long as its process is used again."""
    return Truths()
