"""Overhead of a run per phase: seconds, page faults and messages of its worker processes."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convsweep.measure import messages
from convsweep.measure.settings import Settings
from convsweep.sweep.worker_pool import PHASES, TRACE, WorkerProcess

_START, _NETWORKS, _OTHER = "start_s", "networks_s", "other_s"


def page_faults(pid: int | None) -> int | None:
    """Return the page faults of a process so far; None if it has ended, or without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return int(fields[7]) + int(fields[9])  # minor and major ones


class OverheadProfile:
    """Counts of messages to worker processes, and of the page faults while these are answered."""

    def __init__(self) -> None:
        self._messages: Counter[str] = Counter()
        self._page_faults: Counter[str] = Counter()

    def launch(self, settings: Settings) -> WorkerProcess:
        """Start a worker process whose messages are counted."""
        return _CountedProcess(settings, self)

    def add(self, phase: str, faults: int | None) -> None:
        """Add one message of a phase; `faults` is None if they are unknown."""
        self._messages[phase] += 1
        if faults is not None:
            self._page_faults[phase] += faults

    def figures(self, spent_s: Mapping[str, float]) -> dict[str, dict[str, float | None]]:
        """Return the figures per phase of `spent_s`, the times of a session."""
        found: dict[str, dict[str, float | None]] = {}
        for phase in dict.fromkeys([*PHASES.values(), TRACE, _OTHER]):
            seconds, count = spent_s.get(phase, 0.0), self._messages[phase]
            found[phase.removesuffix("_s")] = {
                "seconds": seconds,
                "share": seconds / spent_s["wall_s"],
                "page_faults": self._page_faults.get(phase),
                "messages": count or None,
                "ms_per_message": 1e3 * seconds / count if count else None,
            }
        return found


class _CountedProcess(WorkerProcess):
    """Worker process whose messages are counted.

    Its start is part of the networks' phase if it times a network, as in `time_spent`.
    """

    def __init__(self, settings: Settings, profile: OverheadProfile) -> None:
        super().__init__(settings)
        self._profile, self._phase, self._faults = profile, _START, 0

    def ask(self, request: messages.Message, *rest: Any, **named: Any) -> messages.Reply:
        before, self._phase = self._phase, PHASES[type(request)]
        if before == _START != self._phase != _NETWORKS:
            self._count(_START)
        try:
            return super().ask(request, *rest, **named)
        finally:
            if self._phase != _START:
                self._count(self._phase)

    def _count(self, phase: str) -> None:
        now = page_faults(self.pid)
        self._profile.add(phase, None if now is None else now - self._faults)
        self._faults = now or self._faults
