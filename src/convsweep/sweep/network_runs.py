"""Whole networks, timed before each pass over their layers."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from math import inf
from time import monotonic

from convsweep.measure.messages import Describe, NetworkTimes, TimeNetwork
from convsweep.measure.outcome import Outcome, RunInfo, utc_now
from convsweep.measure.settings import Settings
from convsweep.problems.case import CONV, FORWARD, TRAINING, Case
from convsweep.problems.problem import ConvProblem, Size
from convsweep.problems.workloads import IMAGE, NETWORKS
from convsweep.results.csv_table import TableWriter
from convsweep.results.networks import INSTRUMENTED, WHOLE, NetworkRow
from convsweep.sweep.worker_pool import (
    START_LIMIT_S,
    WorkerDied,
    WorkerFactory,
    WorkerTimeout,
    add_seconds,
)

MAX_PASSES = 10  # passes that time networks
LIMIT_S = 120.0  # time limit of a network in one pass, once its process has started
_ENOUGH_PASSES = 3
"""Passes that time networks, however long it takes; fewer give no usable interval."""
_MAX_SHARE, _MAX_SHARE_OF_BUDGET = 1 / 3, 1 / 20  # of the run's time
_ROUND_SHARE = 0.01  # of the budget that is left: the most for the rounds of one kind
_GRADIENTS_ALONE = "one backward pass of a network computes both gradients"


@dataclass(frozen=True)
class Network:
    """A network and its settings."""

    name: str  # name of the workload
    maker: str  # name of a builder, or a model specification for `load_model`
    input_shapes: tuple[Size, ...]
    device: str
    dtype: str
    memory_format: str
    threads: int
    direction: str = FORWARD

    @property
    def batch_size(self) -> int:
        """Number of images."""
        return self.input_shapes[0][0]

    @property
    def key(self) -> "NetworkKey":
        """Name, settings and batch size."""
        how = (self.device, self.dtype, self.memory_format, self.threads, self.direction)
        return self.name, *how, self.batch_size


NetworkKey = tuple[str, str, str, str, int, str, int]


def networks_of(cases: Sequence[Case], own: Collection[Case] | None = None) -> list[Network]:
    """Return the networks of these layers that can be built, with the settings of their layers.

    With the `own` cases of a shard: only networks whose first layer is among them.
    """
    found: dict[Network, Case] = {}
    for case in cases:
        name = case.layer.workload
        if name in NETWORKS and case.block == CONV:
            how = (case.device, case.dtype, case.memory_format, case.threads, case.direction)
            images = (case.problem.batch_size, *IMAGE[1:])
            found.setdefault(Network(name, name, (images,), *how), case)
    return [network for network, first in found.items() if own is None or first in own]


def time_once(
    network: Network,
    settings: Settings,
    pass_index: int,
    launch: WorkerFactory,
    budget_left_s: float = inf,
) -> NetworkTimes | Outcome:
    """Return the times of a network from one fresh worker process, or its failure.

    It may take up to a third of the budget that is left.
    """
    if network.direction not in (FORWARD, TRAINING):
        return Outcome("skipped", _GRADIENTS_ALONE)
    limit_s = min(LIMIT_S, _MAX_SHARE * budget_left_s)
    how = (network.device, network.dtype, network.memory_format, network.direction)
    round_s = min(TimeNetwork.round_s, _ROUND_SHARE * budget_left_s)
    request = TimeNetwork(network.maker, network.input_shapes, *how, round_s=round_s)
    own = replace(settings, threads=network.threads, pass_index=pass_index)
    with closing(launch(own)) as worker:
        try:
            worker.ask(Describe(), START_LIMIT_S)
            reply = worker.ask(request, limit_s)
        except WorkerTimeout:
            return Outcome(
                "timeout", f"not timed within {limit_s:.3g} s, its share of the time left"
            )
        except WorkerDied as error:
            return Outcome("crash", str(error))
    assert isinstance(reply, NetworkTimes | Outcome), f"unexpected reply {reply!r}"
    return reply


def rows_of(
    run: RunInfo,
    network: Network,
    pass_index: int,
    result: NetworkTimes | Outcome,
    layer_names: Mapping[ConvProblem, str | None],
) -> list[NetworkRow]:
    """Return the rows of a network in one pass: its parts, then the whole; one row if it failed."""
    whole = NetworkRow(
        run_id=run.run_id,
        pass_index=pass_index,
        started_at=utc_now(),
        environment_id=run.environment_id,
        network=network.name,
        device=network.device,
        dtype=network.dtype,
        memory_format=network.memory_format,
        threads=network.threads,
        kind=WHOLE,
        status="ok",
        batch_size=network.batch_size,
        direction=network.direction,
    )
    if isinstance(result, Outcome):
        return [replace(whole, status=result.status, reason=result.reason)]
    whole = replace(whole, count=1, calls=result.calls)
    seconds = {INSTRUMENTED: result.instrumented_s, WHOLE: result.whole_s}
    return [
        *(
            replace(
                whole,
                kind=part.kind,
                layer=layer_names.get(part.problem) if part.problem else None,
                problem=part.problem.label if part.problem else None,
                count=part.count,
                call_s=part.total_s / part.count,
                total_s=part.total_s,
            )
            for part in result.parts
        ),
        *(replace(whole, kind=k, call_s=s, total_s=s) for k, s in seconds.items()),
    ]


class NetworkRunner:
    """Networks of one environment: when each is due, and their rows in `networks.csv`.

    The first three passes time every network; with a budget, the first one. Later passes do so
    while networks took at most a third of the run's time; with a budget, 5 %. `stored` are the rows
    that the file already has, of all environments; `cases` those of all shards, with the names of
    the layers.
    """

    def __init__(
        self,
        file: TableWriter[NetworkRow] | None,
        stored: Sequence[NetworkRow],
        networks: Sequence[Network],
        cases: Sequence[Case],
        run: RunInfo,
        *,
        has_budget: bool = False,
    ) -> None:
        self._file, self._networks, self._run = file, networks, run
        self._least_passes = 1 if has_budget else _ENOUGH_PASSES
        self._max_share = _MAX_SHARE_OF_BUDGET if has_budget else _MAX_SHARE
        self._layers = {
            name: {c.problem: c.layer.name for c in cases if c.layer.workload == name}
            for name in {network.name for network in networks}
        }
        known = [row for row in stored if row.environment_id == run.environment_id]
        self._last_pass = {_key(row): row.pass_index for row in known}
        self._failed = {_key(row) for row in known if row.status != "ok"}
        self._started = monotonic()
        self.phases_s = {"networks_s": 0.0}  # seconds of all networks in this session

    def due(self, pass_index: int) -> list[Network]:
        """Return the networks to time before this pass; one that failed is not tried again."""
        share = sum(self.phases_s.values()) / max(monotonic() - self._started, 1e-9)
        is_short = pass_index < MAX_PASSES and share <= self._max_share
        return [
            network
            for network in self._networks
            if (is_short or pass_index < self._least_passes)
            and network.key not in self._failed
            and pass_index > self._last_pass.get(network.key, -1)
        ]

    def add(
        self, network: Network, pass_index: int, result: NetworkTimes | Outcome, spent_s: float
    ) -> None:
        """Write the rows of a network in one pass, which took `spent_s` seconds."""
        assert self._file is not None
        layers = self._layers[network.name]
        self._file.append(*rows_of(self._run, network, pass_index, result, layers))
        phases_s = {"networks_s": spent_s}
        if isinstance(result, Outcome):
            self._failed.add(network.key)
        else:
            phases_s |= {"warm_up_s": result.warm_up_s, "timing_s": result.timing_s}
            phases_s["networks_s"] -= result.warm_up_s + result.timing_s
        self.phases_s = add_seconds(self.phases_s, phases_s)


def _key(row: NetworkRow) -> NetworkKey:
    how = (row.device, row.dtype, row.memory_format, row.threads, row.direction)
    return row.network, *how, row.batch_size
