"""Where the tasks of a sweep run: on this machine, or wherever an `Executor` sends them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from time import monotonic
from typing import Any, Protocol

from convsweep.backends.base import Backend
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case
from convsweep.sweep.effort import memory_limit
from convsweep.sweep.environment import Environment, this_machine
from convsweep.sweep.first_pass import FirstPassData
from convsweep.sweep.network_runs import time_once
from convsweep.sweep.request import Request
from convsweep.sweep.scheduler import Scheduler
from convsweep.sweep.work_queue import GroupQueue, Progress, total_progress
from convsweep.sweep.worker_pool import (
    WorkerFactory,
    WorkerPool,
    WorkerProcess,
    add_seconds,
    process_setup,
)
from convsweep.system.calibration import machine as calibrate

OnProgress = Callable[[Progress], None]


class Executor(Protocol):
    """Machines that run a sweep."""

    def environments(self) -> Sequence[Environment]:
        """Return the machines by `environment_id`, each with its request."""

    def run(self, queues: Sequence[GroupQueue], on_progress: OnProgress) -> None:
        """Run the tasks of all environments until the queues are empty."""

    def metadata(self, earlier: Mapping[str, Any]) -> dict[str, object]:
        """Return further keys of environment.json, after those of the `earlier` session."""


class NodeWorkers:
    """Worker processes of one machine; each pass gets new ones."""

    def __init__(
        self,
        launch: WorkerFactory = WorkerProcess,
        on_slow_call: Callable[[Case], None] = lambda case: None,
    ) -> None:
        self._launch, self._on_slow_call = launch, on_slow_call
        self._first = FirstPassData()
        self._scheduler: Scheduler | None = None
        self._pass: Settings | None = None
        self._backends: dict[str, Backend] = {}
        self._phases_s: dict[str, float] = {}

    def scheduler(self, settings: Settings, backends: Mapping[str, Backend]) -> Scheduler:
        """Return the scheduler of a pass; end the worker processes of any other pass."""
        self._backends |= backends
        of_pass = replace(settings, seed=0, memory_limit_bytes=None)
        if self._scheduler is None or of_pass != self._pass:
            before = self._scheduler.pool if self._scheduler else None
            pool = WorkerPool(settings, self._phases_s, self._launch, before)
            self._pass = of_pass
            self._scheduler = Scheduler(pool, self._backends, self._first, self._on_slow_call)
        return self._scheduler

    def take_phases_s(self) -> dict[str, float]:
        """Return the seconds per phase since the last call."""
        taken = dict(self._phases_s)
        self._phases_s.clear()
        return taken

    def close(self) -> None:
        """End all worker processes at once."""
        if self._scheduler is not None:
            self._scheduler.close()
            self._scheduler = None


class LocalExecutor:
    """This machine, one task at a time."""

    def __init__(self, request: Request, launch: WorkerFactory = WorkerProcess) -> None:
        self._request, self._launch = request, launch
        self._memory_limit_bytes = memory_limit(request.device_descriptions)

    def environments(self) -> list[Environment]:
        """Return this machine; raise `ValueError` if a worker process does not start."""
        request = self._request
        settings = Settings(
            threads=min(case.threads for case in request.every_case),
            allocator=request.allocator,
            memory_limit_bytes=self._memory_limit_bytes,
        )
        if any(backend.family == "kernels" for backend in request.every_backend.values()):
            calibrate()  # before any worker runs
        return [replace(this_machine(request), process_setup=process_setup(settings, self._launch))]

    def run(self, queues: Sequence[GroupQueue], on_progress: OnProgress) -> None:
        """Run one task after another."""
        [queue] = queues
        budget, shown = queue.monitor.budget, 0

        def on_slow_call(case: Case) -> None:
            now = total_progress(queues)
            on_progress(replace(now, case=case, first_call=queue.backends[case.backend]))

        with closing(NodeWorkers(self._launch, on_slow_call)) as workers:
            while task := queue.next():
                settings = replace(task.settings, memory_limit_bytes=self._memory_limit_bytes)
                if task.network is not None:
                    workers.close()
                    started = monotonic()
                    times = time_once(
                        task.network, settings, task.pass_index, self._launch, budget.left_s
                    )
                    seconds = monotonic() - started
                    queue.networks.add(task.network, task.pass_index, times, seconds)
                    continue
                scheduler = workers.scheduler(settings, queue.backends)
                for case, outcome in scheduler.measure(
                    task.cases, lambda: budget.left_s, queue.monitor.should_stop
                ):
                    queue.add(task, case, outcome)
                    now = total_progress(queues)
                    on_progress(now)
                    shown = now.done
                queue.phases_s = add_seconds(queue.phases_s, workers.take_phases_s())
        now = total_progress(queues)
        if now.done > shown:  # cases settled without measuring
            on_progress(now)

    def metadata(self, earlier: Mapping[str, Any]) -> dict[str, object]:
        """Return nothing more."""
        return {}
