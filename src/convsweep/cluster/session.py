"""A request carried out on a cluster: each kind of hardware apart, in one run's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from convsweep.cluster.dispatcher import dispatch
from convsweep.cluster.node_groups import NodeGroup
from convsweep.cluster.pool import Pool
from convsweep.cluster.work_queue import NODES_LOST, RETRIES, GroupQueue
from convsweep.measure.outcome import RunInfo, utc_now
from convsweep.measure.worker import Settings
from convsweep.results import store
from convsweep.results.lock import locked
from convsweep.results.network_store import Networks
from convsweep.sweep.effort import measuring
from convsweep.sweep.network_runs import ENOUGH_PASSES, Network, NetworkRunner, Origin, networks_of
from convsweep.sweep.resume import completed_results, earlier_settings, require_same
from convsweep.sweep.run_writer import RunWriter, added, resumed_metadata, settings_metadata
from convsweep.sweep.session import Ending, Observe, left_open, record_outcome
from convsweep.sweep.stopping import SweepMonitor
from convsweep.system.signals import Interrupts

if TYPE_CHECKING:
    from pandas import DataFrame

_ENDINGS = (NODES_LOST, "interrupted", "budget", "all_passes", "converged")
"""How a kind's share may end, what tells most of the whole run first."""


@dataclass(frozen=True)
class Began:
    """A run that is resumed, as it was found."""

    told: Mapping[str, Any]
    """Its environment.json."""
    rows: DataFrame


@dataclass(frozen=True)
class Ended:
    """How a run has ended."""

    word: str
    of_kinds: tuple[Ending, ...]


def run_on_cluster(
    kinds: Sequence[NodeGroup],
    pool: Pool,
    out: Path,
    run_id: str,
    command: str,
    observe: Observe,
    *,
    resume: bool = False,
) -> Ended:
    """Measure everything on every kind of hardware.

    A row is put down when the answer of its group has arrived, and only then: whatever is tried
    again, there is one of each case and pass.

    Raises:
        ValueError: another run is writing to `out`, or what is there can't be gone on with.
    """
    with locked(out), Interrupts() as interrupts, ExitStack() as files:
        if not resume:
            store.require_new(out)
        began = Began(store.read_environment(out), store.load_completed(out))
        told = _told(kinds, began, run_id, command)
        recording = files.enter_context(closing(RunWriter(out, told, resume)))
        networks = None
        if any(_networks(kind) for kind in kinds):
            networks = files.enter_context(closing(Networks(out, resume)))
        shares = [
            _share(kind, str(told["run_id"]), began, interrupts, recording, networks)
            for kind in kinds
        ]
        started = monotonic()
        dispatch(shares, pool, observe)
        spent = _spent(shares, monotonic() - started)
        words = {share.stopping.ended for share in shares}
        word = next(word for word in _ENDINGS if word in words)
        total = added(told.get("time_spent"), spent)
        before = told.get("task_losses")
        losses = [
            *(before if isinstance(before, list) else []),
            *(asdict(loss) for share in shares for loss in share.losses),
        ]
        recording.tell(
            {"time_spent": total, "task_losses": losses, "end_reason": word, "rows": recording.rows}
        )
        left = (left_open(s.stopping, s.kind.request, total["wall_s"]) for s in shares)
        return Ended(word, tuple(Ending(interrupts.received, one) for one in left))


def _spent(shares: Sequence[GroupQueue], wall_s: float) -> dict[str, float]:
    """Where the time of all slots together went, in seconds by phase, and the time on the wall."""
    phases = Counter[str]()
    for share in shares:
        phases.update(share.phases_s)
    slots = sum(len(share.kind.nodes) for share in shares)
    return {**phases, "other_s": slots * wall_s - sum(phases.values()), "wall_s": wall_s}


def _share(
    kind: NodeGroup,
    run_id: str,
    began: Began,
    interrupts: Interrupts,
    recording: RunWriter,
    networks: Networks | None,
) -> GroupQueue:
    request, origin = kind.request, Origin(run_id, kind.environment_id)
    own = began.rows[began.rows["environment_id"] == kind.environment_id]
    known = completed_results(own, request.every_case)
    stopping = SweepMonitor(request, interrupts, known)
    settings = _settings(kind, began.told)
    run = RunInfo(run_id, kind.environment_id, dict(request.device_descriptions))

    record = partial(record_outcome, recording, stopping, request, run)
    beside = NetworkRunner(
        Path(),
        _networks(kind),
        (request.whole or request).cases,
        settings,
        origin,
        least_passes=ENOUGH_PASSES if request.budget_s is None else 1,
        file=networks,
    )
    return GroupQueue(kind, settings, stopping, beside, record, known)


def _networks(kind: NodeGroup) -> list[Network]:
    request = kind.request
    return networks_of((request.whole or request).cases, {*request.cases})


def _settings(kind: NodeGroup, earlier: Mapping[str, Any]) -> Settings:
    """How the kind's cases are measured: with a budget as an earlier session has begun to."""
    now = replace(measuring(kind.request), memory_limit_bytes=None)
    if kind.request.budget_s is None or not earlier:
        return now
    return earlier_settings(_of_kind(earlier, kind.environment_id), now)


def _told(kinds: Sequence[NodeGroup], began: Began, run_id: str, command: str) -> dict[str, object]:
    """What environment.json says: of one kind as of a machine alone, of several each apart."""
    now: dict[str, object] = {
        "run_id": run_id,
        "command": command,
        "started_at": utc_now(),
        "baseline": kinds[0].request.baseline,
        "margin": kinds[0].request.margin,
        "ray": {
            "version": version("ray"),
            "retries": RETRIES,
            "nodes": {node.name: kind.environment_id for kind in kinds for node in kind.nodes},
        },
    }
    parts = {kind.environment_id: _part(kind, began.told) for kind in kinds}
    if len(kinds) == 1:
        now |= parts[kinds[0].environment_id]
    else:
        now |= {"request": kinds[0].request.told(), "environments": parts}
    if not began.told:
        return now
    _require_same(began.told, now)
    before = began.told.get("ray")
    nodes = before.get("nodes", {}) if isinstance(before, Mapping) else {}
    ray = now["ray"]
    assert isinstance(ray, dict)
    return resumed_metadata(began.told, command) | {"ray": ray | {"nodes": nodes | ray["nodes"]}}


def _part(kind: NodeGroup, earlier: Mapping[str, Any]) -> dict[str, object]:
    """What is told of one kind, as of a machine alone."""
    settings = settings_metadata(_settings(kind, earlier), kind.conditions)
    return {**kind.told, "request": kind.request.told(), "settings": settings}


def _of_kind(told: Mapping[str, Any], environment_id: str) -> dict[str, Any]:
    """What environment.json says of one kind."""
    parts = told.get("environments")
    part = parts.get(environment_id, {}) if isinstance(parts, Mapping) else told
    return {**told, **part, "environment_id": environment_id}


def _environments(told: Mapping[str, Any]) -> list[str]:
    parts = told.get("environments")
    return sorted(parts) if isinstance(parts, Mapping) else [str(told.get("environment_id"))]


def _require_same(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `ValueError`, naming what differs, where a run can't be gone on with."""
    before, now = _environments(there), _environments(here)
    if before != now:
        raise ValueError(
            f"can't resume: the run is of environment {', '.join(before)}, the nodes are of "
            f"{', '.join(now)}; --nodes chooses among them"
        )
    for environment_id in now:
        require_same(_of_kind(there, environment_id), _of_kind(here, environment_id))
