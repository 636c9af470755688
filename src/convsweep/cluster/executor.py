"""A sweep on a Ray cluster: all environments at the same time, each group in one slot."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from convsweep.cluster.node_groups import NodeGroup
from convsweep.cluster.pool import Pool, TaskLost, TaskResult, Ticket
from convsweep.cluster.tasks import GroupResult, measure, time_network
from convsweep.measure.outcome import Outcome, utc_now
from convsweep.sweep.environment import Environment
from convsweep.sweep.executor import OnProgress
from convsweep.sweep.session import NODES_LOST
from convsweep.sweep.work_queue import GroupQueue, SweepTask, total_progress
from convsweep.sweep.worker_pool import add_seconds

RETRIES = 3  # Further attempts of a task after its node or process has died
_TASKS_PER_NODE = 2  # Tasks in flight per node: one runs, one follows at once
_WAIT_S = 1.0


class RayExecutor:
    """Slots of a Ray cluster. A lost task runs again on another node of its group."""

    def __init__(self, groups: Sequence[NodeGroup], pool: Pool) -> None:
        self._groups, self._pool = {group.environment.id: group for group in groups}, pool
        self._losses: list[dict[str, object]] = []
        self._running: dict[Ticket, tuple[GroupQueue, SweepTask]] = {}

    def environments(self) -> list[Environment]:
        """Return the environment of each node group."""
        return [group.environment for group in self._groups.values()]

    def run(self, queues: Sequence[GroupQueue], on_progress: OnProgress) -> None:
        """Keep all slots busy until the queues are empty. An outcome is recorded once."""
        try:
            while True:
                for queue in queues:
                    self._submit(queue)
                if not self._running:
                    return
                for ticket in self._pool.ready(self._running, _WAIT_S):
                    queue, task = self._running.pop(ticket)
                    queue.running -= 1
                    result = self._pool.result(ticket)
                    if isinstance(result, TaskResult):
                        _complete(queue, task, result)
                    else:
                        self._retry(queue, task, result)
                on_progress(total_progress(queues))
        finally:
            for ticket in self._running:
                self._pool.cancel(ticket)

    def _submit(self, queue: GroupQueue) -> None:
        group = self._groups[queue.environment.id]
        while queue.running < _TASKS_PER_NODE * len(group.nodes) and (task := queue.next()):
            if task.network is not None:
                network = (task.network, task.settings, task.pass_index)
                ticket = self._pool.submit(time_network, network, group.slots)
            else:
                ticket = self._pool.submit(measure, (task.cases, task.settings), group.slots)
            self._running[ticket] = (queue, task)
            queue.running += 1

    def _retry(self, queue: GroupQueue, task: SweepTask, lost: TaskLost) -> None:
        """Run a lost task again, up to `RETRIES` times; stop if its group has no node left."""
        task.attempts += 1
        loss = {"at": utc_now(), "pass_index": task.pass_index, "what": task.label}
        self._losses.append({**loss, "attempt": task.attempts, "reason": lost.reason})
        alive = {node.id for node in self._pool.nodes()}
        if alive.isdisjoint(queue.environment.nodes):
            queue.abort(NODES_LOST)
        elif task.attempts <= RETRIES:
            queue.requeue(task)
        else:
            reason = f"lost {task.attempts} times with its node or process, last: {lost.reason}"
            outcome = Outcome("crash", reason)
            if task.network is not None:
                queue.networks.add(task.network, task.pass_index, outcome, 0.0)
            for case in task.cases:
                queue.add(task, case, outcome)

    def metadata(self, earlier: Mapping[str, Any]) -> dict[str, object]:
        """Return the nodes and lost tasks of this session and the `earlier` ones."""
        nodes = earlier.get("ray", {}).get("nodes", {})
        own = {name: one.id for one in self.environments() for name in one.nodes.values()}
        return {
            "ray": {"version": version("ray"), "retries": RETRIES, "nodes": nodes | own},
            "task_losses": [*earlier.get("task_losses", []), *self._losses],
        }


def _complete(queue: GroupQueue, task: SweepTask, result: TaskResult) -> None:
    """Record the result of a task."""
    if task.network is not None:
        queue.networks.add(task.network, task.pass_index, *result.value)
        return
    node = queue.environment.nodes.get(result.node_id, result.node_id)
    assert isinstance(result.value, GroupResult), f"node {node} returned {result.value!r}"
    queue.phases_s = add_seconds(queue.phases_s, result.value.phases_s)
    for case, outcome in result.value.outcomes:
        queue.add(task, case, outcome, node)
