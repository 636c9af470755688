"""Tasks of a cluster node: one group of cases, or one network."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from time import monotonic

from convsweep.backends.variants import find_backend
from convsweep.cluster.cores import spare_cores
from convsweep.measure.messages import NetworkTimes
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.sweep.effort import memory_limit
from convsweep.sweep.executor import NodeWorkers
from convsweep.sweep.forecast import skipped_cases
from convsweep.sweep.network_runs import Network, time_once
from convsweep.sweep.worker_pool import WorkerProcess


@dataclass(frozen=True)
class GroupResult:
    """Outcomes of a group."""

    outcomes: tuple[tuple[Case, Outcome], ...]
    phases_s: dict[str, float] = field(default_factory=dict)  # Seconds of the node per phase


def measure(cases: Sequence[Case], settings: Settings) -> GroupResult:
    """Measure the cases of one problem once, in the worker processes of the pass."""
    settings = replace(settings, threads=max(case.threads for case in cases))
    backends = {case.backend: find_backend(case.backend) for case in cases}
    skipped = skipped_cases(cases, backends)
    pending = [case for case in cases if case not in skipped]
    scheduler = _node_workers().scheduler(_on_node(settings, cases), backends)
    measured = tuple(scheduler.measure(pending))
    return GroupResult((*skipped.items(), *measured), _node_workers().take_phases_s())


def time_network(
    network: Network, settings: Settings, pass_index: int
) -> tuple[NetworkTimes | Outcome, float]:
    """Return the times of a network, or its failure, and the seconds that this took.

    No other worker process runs meanwhile.
    """
    _node_workers().close()
    started = monotonic()
    own = _on_node(replace(settings, threads=network.threads), [network])
    return time_once(network, own, pass_index, WorkerProcess), monotonic() - started


def _on_node(settings: Settings, items: Sequence[Case | Network]) -> Settings:
    """Return the settings with the cores and the free memory of this node."""
    limit = memory_limit({item.device for item in items})
    return replace(settings, cores=spare_cores(settings.threads), memory_limit_bytes=limit)


@cache
def _node_workers() -> NodeWorkers:
    """Return the workers of this node's process, which serves one run only."""
    return NodeWorkers()
