"""A sweep from request to run folder."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

from pandas import DataFrame

from convsweep.measure.outcome import Outcome, RunInfo, make_row, utc_now
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.results import store
from convsweep.results.csv_table import Completed
from convsweep.results.lock import locked
from convsweep.results.machines import machines
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.results.schema import MEASUREMENTS_TABLE
from convsweep.results.store import RunFolder
from convsweep.sweep.effort import worker_settings
from convsweep.sweep.environment import Environment
from convsweep.sweep.executor import Executor, LocalExecutor, OnProgress
from convsweep.sweep.network_runs import Network, NetworkRunner, networks_of
from convsweep.sweep.overhead import OverheadProfile
from convsweep.sweep.request import Request
from convsweep.sweep.resume import (
    completed_results,
    earlier_settings,
    metadata_of,
    require_same,
)
from convsweep.sweep.run_writer import RunWriter, resumed_metadata, settings_metadata
from convsweep.sweep.stopping import OpenComparisons, PassResults, SweepMonitor
from convsweep.sweep.work_queue import GroupQueue, RecordOutcome
from convsweep.sweep.worker_pool import WorkerFactory, WorkerProcess, add_seconds
from convsweep.system.signals import Interrupts

NODES_LOST = "nodes_lost"  # end reason of an environment that has lost all of its nodes
_END_REASONS = (NODES_LOST, "interrupted", "budget", "all_passes", "converged")
"""The first one among all environments is that of the run."""


@dataclass(frozen=True)
class SweepResult:
    """End of a sweep."""

    end_reason: str  # `all_passes`, `converged`, `budget`, `interrupted` or `nodes_lost`
    interrupted: bool
    folder: RunFolder
    summary: DataFrame  # one row per case, as `summarize` returns it
    open_comparisons: tuple[OpenComparisons, ...] = ()
    """Undecided comparisons per environment, of a run with a budget or a precision."""
    unmeasured: tuple[Case, ...] = ()  # cases without a row: the run has ended before


def run_sweep(
    executor: Executor,
    out: Path,
    run_id: str,
    command: str,
    on_progress: OnProgress,
    *,
    resume: bool = False,
    networks: Sequence[Network] | None = None,
    profile: OverheadProfile | None = None,
) -> SweepResult:
    """Measure everything, write each row at once, and write the summary.

    The first interrupt ends the sweep after the current group; `resume` continues the run in `out`.
    `networks` are timed end to end; by default those whose layers are in the request. `profile`
    has the counts of the executor's worker processes. Raises `ValueError` if another run writes to
    `out`, or the run there cannot be resumed.
    """
    with locked(out), Interrupts() as interrupts, ExitStack() as files:
        if not resume:
            store.require_new(out)
        earlier = store.read_environment(out) if resume else {}
        environments = executor.environments()
        settings = {one.id: _settings(one, earlier) for one in environments}
        stored = {
            one.id: settings_metadata(settings[one.id], one.process_setup) for one in environments
        }
        metadata: dict[str, Any] = {"run_id": run_id, "started_at": utc_now()}
        metadata |= metadata_of(environments, stored, command)
        known: dict[str, PassResults] = {}
        completed: Completed | None = None
        if resume:
            require_same(earlier, metadata)
            metadata = resumed_metadata(earlier, command) | {"request": metadata["request"]}
            completed = MEASUREMENTS_TABLE.load_completed(out)
            for one in environments:
                own_rows = completed.rows[completed.rows["environment_id"] == one.id]
                known[one.id] = completed_results(own_rows, one.request.every_case)
        metadata |= executor.metadata(earlier)
        runs = {
            one.id: RunInfo(str(metadata["run_id"]), one.id, dict(one.request.device_descriptions))
            for one in environments
        }
        writer = files.enter_context(closing(RunWriter(out, metadata, completed)))
        timed = {
            one.id: networks_of((one.request.whole or one.request).cases, {*one.request.cases})
            if networks is None
            else networks
            for one in environments
        }
        file, timings = None, []
        if any(timed.values()):
            whole = NETWORKS_TABLE.load_completed(out) if resume else None
            timings = NETWORKS_TABLE.rows_of(whole.rows) if whole else []
            file = files.enter_context(closing(NETWORKS_TABLE.open(out, whole)))
        queues = [
            GroupQueue(
                one,
                settings[one.id],
                SweepMonitor(one.request, interrupts, known.get(one.id)),
                _recorder(writer, one.request, runs[one.id]),
                NetworkRunner(
                    file,
                    timings,
                    timed[one.id],
                    (one.request.whole or one.request).cases,
                    runs[one.id],
                    has_budget=one.request.budget_s is not None,
                ),
                known.get(one.id),
                sync=writer.sync,
            )
            for one in environments
        ]
        started = monotonic()
        executor.run(queues, on_progress)
        session_s = _time_spent(queues, monotonic() - started)
        total = add_seconds(metadata.get("time_spent", {}), session_s)
        reasons = {queue.monitor.end_reason for queue in queues}
        end_reason = next(reason for reason in _END_REASONS if reason in reasons)
        for queue in queues:
            machines(metadata)[queue.environment.id]["settings"]["blocks"] = queue.blocks
        end = {"time_spent": total, "end_reason": end_reason, "rows": writer.rows}
        if profile:
            end["overhead"] = profile.figures(session_s)
        writer.update_metadata(end | executor.metadata(earlier))
        left = (queue.monitor.open_comparisons(total["wall_s"]) for queue in queues)
        undecided = tuple(one for one in left if one)
        unmeasured = tuple(case for queue in queues for case in queue.unmeasured)
        del queue, queues, known, completed  # the summary uses their memory
    return SweepResult(
        end_reason, interrupts.received, writer.folder, writer.summary, undecided, unmeasured
    )


def check(
    request: Request, on_progress: OnProgress, launch: WorkerFactory = WorkerProcess
) -> list[tuple[Case, Outcome]]:
    """Return the result of the correctness gate for every case; nothing is timed."""
    found: list[tuple[Case, Outcome]] = []
    once = replace(request, passes=1, budget_s=None, precision=None)
    request = replace(once, ceilings=(), separable_parts=())
    queue = GroupQueue(
        Environment(request, {}),
        replace(worker_settings(request), effort=None),
        SweepMonitor(request),
        lambda _, case, outcome, __: found.append((case, outcome)),
    )
    LocalExecutor(request, launch).run([queue], on_progress)
    return found


def _settings(environment: Environment, earlier: Mapping[str, Any]) -> Settings:
    """Return the settings of worker processes; a budget keeps those of the `earlier` session."""
    settings = worker_settings(environment.request)
    if environment.request.budget_s is None or not earlier:
        return settings
    return earlier_settings(earlier, environment.id, settings)


def _recorder(writer: RunWriter, request: Request, run: RunInfo) -> RecordOutcome:
    backends = request.every_backend

    def record(pass_index: int, case: Case, outcome: Outcome, node: str | None) -> None:
        row = make_row(run, case, backends[case.backend], pass_index, outcome, node)
        writer.add(row, outcome.blocks)

    return record


def _time_spent(queues: Sequence[GroupQueue], wall_s: float) -> dict[str, float]:
    """Return the seconds of all nodes together per phase, and the wall-clock time."""
    phases_s: dict[str, float] = {}
    for queue in queues:
        phases_s = add_seconds(phases_s, add_seconds(queue.phases_s, queue.networks.phases_s))
    nodes = sum(max(1, len(queue.environment.nodes)) for queue in queues)
    other_s = max(0.0, nodes * wall_s - sum(phases_s.values()))  # nodes have clocks of their own
    return {**phases_s, "other_s": other_s, "wall_s": wall_s}
