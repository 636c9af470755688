"""A sweep over a cluster: every kind of hardware visits every case, each group in one slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

from convsweep.cluster.node_groups import NodeGroup
from convsweep.cluster.pool import Pool, TaskHandle, Ticket
from convsweep.cluster.tasks import measure, time_network
from convsweep.cluster.work_queue import GroupQueue, Task
from convsweep.sweep.runner import Progress

_AHEAD = 2
"""Groups in flight for each node: one at work, one that follows at once."""
_LOOK_S = 1.0


def dispatch(shares: Sequence[GroupQueue], pool: Pool, observe: Callable[[Progress], None]) -> None:
    """Keep every node's slot at work until all shares are done, or told to stop."""
    flying: dict[Ticket, tuple[GroupQueue, Task]] = {}
    try:
        while True:
            for share in shares:
                _top_up(share, pool, flying)
            if not flying:
                return
            for ticket in pool.ready(flying, _LOOK_S):
                share, work = flying.pop(ticket)
                share.in_flight -= 1
                result = pool.result(ticket)
                if isinstance(result, TaskHandle):
                    share.accept(work, result)
                elif _is_gone(share.kind, pool):
                    share.give_up(work, result)
                else:
                    share.retry(work, result)
            observe(_standing(shares))
    finally:
        for ticket in flying:
            pool.cancel(ticket)


def _top_up(share: GroupQueue, pool: Pool, flying: dict[Ticket, tuple[GroupQueue, Task]]) -> None:
    while share.in_flight < _AHEAD * len(share.kind.nodes) and (work := share.next()):
        slots = share.kind.slots
        if work.network is not None:
            arguments = (work.network, work.settings, work.pass_index)
            ticket = pool.submit(time_network, arguments, slots)
        else:
            ticket = pool.submit(measure, (work.cases, work.settings), slots)
        flying[ticket] = (share, work)
        share.in_flight += 1


def _is_gone(kind: NodeGroup, pool: Pool) -> bool:
    alive = {node.id for node in pool.nodes()}
    return alive.isdisjoint(node.id for node in kind.nodes)


def _standing(shares: Sequence[GroupQueue]) -> Progress:
    """All shares together; the one that takes longest decides how long."""
    return Progress(
        sum(share.countdown.done for share in shares),
        None
        if any(share.is_adaptive for share in shares)
        else sum(s.countdown.total for s in shares),
        shares[-1].last,
        max((s for s in map(_left_s, shares) if s is not None), default=None),
    )


def _left_s(share: GroupQueue) -> float | None:
    """Seconds left to a share; None where nobody knows."""
    if not share.is_adaptive:
        return share.countdown.left_s
    left_s = share.stopping.budget.left_s
    return max(0.0, left_s) if isfinite(left_s) else None
