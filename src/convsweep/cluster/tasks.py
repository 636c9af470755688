"""What a node does in its slot: one group of cases, or one network, as on a machine alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from time import monotonic

from convsweep.backends.base import Backend
from convsweep.backends.variants import find_backend
from convsweep.cluster.cores import spare_cores
from convsweep.measure.gate import skipped_outcome
from convsweep.measure.network_timing import NetworkTimes
from convsweep.measure.outcome import Outcome
from convsweep.measure.worker import Settings
from convsweep.problems.case import Case
from convsweep.sweep.effort import memory_limit
from convsweep.sweep.network_runs import Network, visit
from convsweep.sweep.scheduler import ReferenceCache, Scheduler
from convsweep.sweep.worker_pool import WorkerFactory, WorkerPool, start_worker


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


class NodeWorkers:
    """A node's measuring processes: fresh ones for every pass, as on a machine alone."""

    def __init__(self, launch: WorkerFactory = start_worker) -> None:
        self._launch, self._truths = launch, ReferenceCache()
        self._conductor: Scheduler | None = None
        self._pass: Settings | None = None
        self._backends: dict[str, Backend] = {}
        self._phases_s: dict[str, float] = {}

    def conductor(self, settings: Settings, backends: Mapping[str, Backend]) -> Scheduler:
        """Who measures a group; the processes of another pass are ended first."""
        self._backends |= backends
        of_pass = replace(settings, seed=0, memory_limit_bytes=None)
        if self._conductor is None or of_pass != self._pass:
            self.close()
            company = WorkerPool(settings, self._phases_s, self._launch)
            self._conductor, self._pass = Scheduler(company, self._backends, self._truths), of_pass
        return self._conductor

    def take_phases_s(self) -> dict[str, float]:
        """Where the time went since this was asked last."""
        taken = dict(self._phases_s)
        self._phases_s.clear()
        return taken

    def close(self) -> None:
        """End all processes at once."""
        if self._conductor is not None:
            self._conductor.close()
            self._conductor = None


def measure(cases: Sequence[Case], settings: Settings) -> Measured:
    """One pass' visit to cases of one problem, in measuring processes of that pass."""
    backends = {case.backend: find_backend(case.backend) for case in cases}
    skipped = {
        case: skip for case in cases if (skip := skipped_outcome(case, backends[case.backend]))
    }
    waiting = [case for case in cases if case not in skipped]
    measured = _node_workers().conductor(_here(settings, cases), backends).measure(waiting)
    return Measured((*skipped.items(), *measured), _node_workers().take_phases_s())


def time_network(network: Network, settings: Settings, pass_index: int) -> Timed:
    """One visit to a whole network, beside which nothing else is kept."""
    _node_workers().close()
    started = monotonic()
    own = _here(replace(settings, threads=network.threads), [network])
    return Timed(visit(network, own, pass_index, start_worker), monotonic() - started)


def _here(settings: Settings, on: Sequence[Case | Network]) -> Settings:
    """The settings with what only the node knows: its cores and how much memory is free."""
    return replace(
        settings,
        cores=spare_cores(settings.threads),
        memory_limit_bytes=memory_limit({one.device for one in on}),
    )


@cache
def _node_workers() -> NodeWorkers:
    """Kept as long as this node's process is used again: by one run alone."""
    return NodeWorkers()
