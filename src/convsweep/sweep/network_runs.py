"""Whole networks beside a sweep of their layers: one visit to each before a pass, in a process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from convsweep.measure.network_timing import NetworkTimes, TimedModule, TimeNetwork
from convsweep.measure.outcome import Outcome, utc_now
from convsweep.measure.worker import Describe, Settings
from convsweep.problems.case import Case
from convsweep.problems.networks import BUILDERS, IMAGE
from convsweep.problems.problem import ConvProblem, Size
from convsweep.results.network_store import INSTRUMENTED, WHOLE, NetworkRow, Networks
from convsweep.sweep.worker_pool import START_LIMIT_S, WorkerFactory, start_worker
from convsweep.sweep.worker_process import WorkerDied, WorkerTimeout

MOST_PASSES = 10
"""Visits to a network at most; more would tell little more of it."""
LIMIT_S = 120.0
"""The longest that a visit may take once its process has started."""
ENOUGH_PASSES = 3
"""Visits that are made however long they take: fewer give no interval worth the name."""
_LARGEST_SHARE = 1 / 3  # of the run's time

Layers = Mapping[ConvProblem, str | None]
"""The workload's layer of each problem."""


@dataclass(frozen=True)
class Network:
    """A network, and how it is run."""

    name: str
    """The workload that its layers are."""
    maker: str
    """A builder's name, or what `load_model` takes."""
    input_shapes: tuple[Size, ...]
    device: str
    dtype: str
    memory_format: str
    threads: int

    @property
    def key(self) -> _Key:
        """What tells it from the others of a run."""
        return self.name, self.device, self.dtype, self.memory_format, self.threads


_Key = tuple[str, str, str, str, int]


def networks_of(cases: Sequence[Case], own: Collection[Case] | None = None) -> list[Network]:
    """The networks whose layers these are, as far as they can be built, each as its layers run.

    Of a shard's `own` cases those whose first layer is among them: one shard runs each network.
    """
    found: dict[Network, Case] = {}
    for case in cases:
        name = case.layer.workload
        if name is not None and name in BUILDERS:
            how = (case.device, case.dtype, case.memory_format, case.threads)
            found.setdefault(Network(name, name, (IMAGE,), *how), case)
    return [network for network, first in found.items() if own is None or first in own]


def visit(
    network: Network, settings: Settings, pass_index: int, launch: WorkerFactory
) -> NetworkTimes | Outcome:
    """The network's times from one fresh measuring process, or how that ended."""
    with closing(launch(replace(settings, threads=network.threads, pass_index=pass_index))) as own:
        try:
            own.ask(Describe(), START_LIMIT_S)
            reply = own.ask(
                TimeNetwork(
                    network.maker,
                    network.input_shapes,
                    network.device,
                    network.dtype,
                    network.memory_format,
                ),
                LIMIT_S,
            )
        except WorkerTimeout:
            return Outcome("timeout", f"the network is not timed after {LIMIT_S:g} s")
        except WorkerDied as ended:
            return Outcome("crash", str(ended))
    assert isinstance(reply, NetworkTimes | Outcome), f"a measuring process answered {reply!r}"
    return reply


@dataclass(frozen=True)
class Origin:
    """What all rows of one run share."""

    run_id: str
    environment_id: str


def rows_of(
    origin: Origin,
    network: Network,
    pass_index: int,
    found: NetworkTimes | Outcome,
    layers: Layers,
) -> list[NetworkRow]:
    """The rows of one visit: every part, then the whole; one row where there is no time."""
    whole = NetworkRow(
        run_id=origin.run_id,
        pass_index=pass_index,
        started_at=utc_now(),
        environment_id=origin.environment_id,
        network=network.name,
        device=network.device,
        dtype=network.dtype,
        memory_format=network.memory_format,
        threads=network.threads,
        kind=WHOLE,
        status="ok",
    )
    if isinstance(found, Outcome):
        return [replace(whole, status=found.status, reason=found.reason)]
    whole = replace(whole, count=1, calls=found.calls)
    seconds = {INSTRUMENTED: found.instrumented_s, WHOLE: found.whole_s}
    return [
        *(_part_row(whole, part, layers) for part in found.parts),
        *(replace(whole, kind=k, call_s=s, total_s=s) for k, s in seconds.items()),
    ]


def _part_row(whole: NetworkRow, part: TimedModule, layers: Layers) -> NetworkRow:
    problem = part.problem
    return replace(
        whole,
        kind=part.kind,
        layer=layers.get(problem) if problem else None,
        problem=problem.label if problem else None,
        count=part.count,
        call_s=part.total_s / part.count,
        total_s=part.total_s,
    )


class NetworkRunner:
    """The visits of one run, its rows in `networks.csv`; without a network there is no file."""

    def __init__(
        self,
        run_dir: Path,
        networks: Sequence[Network],
        cases: Sequence[Case],
        settings: Settings,
        origin: Origin,
        *,
        least_passes: int = ENOUGH_PASSES,
        resume: bool = False,
        launch: WorkerFactory = start_worker,
        file: Networks | None = None,
    ) -> None:
        """Make the file, or with `resume` go on with it.

        Args:
            run_dir: the run's folder.
            networks: what is visited.
            cases: of the run, all of its shards', which tell the names of layers.
            settings: of every measuring process.
            origin: what all rows share.
            least_passes: the first of them, in which all visits are made; later ones only while
                visits took no more than a third of the run's time.
            resume: go on behind the last visit that is there.
            launch: makes a measuring process.
            file: of a run on several environments, the one that all of them write to.

        Raises:
            ValueError: in one line, where there is a file that can't be gone on with.
        """
        self._networks, self._settings, self._origin = networks, settings, origin
        self._file = file or (Networks(run_dir, resume) if networks else None)
        self._is_shared = file is not None
        self._launch, self._least_passes = launch, least_passes
        self._layers = {
            name: {c.problem: c.layer.name for c in cases if c.layer.workload == name}
            for name in {network.name for network in networks}
        }
        rows = self._file.known if self._file else []
        known = [row for row in rows if row.environment_id == origin.environment_id]
        self._reached = {_key(row): row.pass_index for row in known}
        self._failed = {_key(row) for row in known if row.status != "ok"}
        self._started = monotonic()
        self.spent_s = 0.0
        """In all visits of this session."""

    def before_pass(self, pass_index: int, stop: Callable[[], bool]) -> None:
        """Make the visits that are due before this pass of the sweep, until `stop` says so.

        A network that has failed is not tried again.
        """
        for network in self.due(pass_index):
            if stop():
                return
            started = monotonic()
            found = visit(network, self._settings, pass_index, self._launch)
            self.add(network, pass_index, found, monotonic() - started)

    def due(self, pass_index: int) -> list[Network]:
        """Those that are to be visited before this pass of the sweep."""
        return [network for network in self._networks if self._is_due(network, pass_index)]

    def add(
        self, network: Network, pass_index: int, found: NetworkTimes | Outcome, spent_s: float
    ) -> None:
        """Put one visit, which took `spent_s` seconds, on the disk."""
        assert self._file is not None
        layers = self._layers[network.name]
        self._file.append(rows_of(self._origin, network, pass_index, found, layers))
        self.spent_s += spent_s
        if isinstance(found, Outcome):
            self._failed.add(network.key)

    def _is_due(self, network: Network, pass_index: int) -> bool:
        if network.key in self._failed or pass_index <= self._reached.get(network.key, -1):
            return False
        share = self.spent_s / max(monotonic() - self._started, 1e-9)
        return pass_index < self._least_passes or (
            pass_index < MOST_PASSES and share <= _LARGEST_SHARE
        )

    def close(self) -> None:
        """Close the file."""
        if self._file and not self._is_shared:
            self._file.close()


def _key(row: NetworkRow) -> _Key:
    return row.network, row.device, row.dtype, row.memory_format, row.threads
