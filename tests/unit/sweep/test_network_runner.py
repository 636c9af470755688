"""Whole networks in a run: when each is due, and their rows on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from convsweep.measure.messages import Message, NetworkTimes, Reply, TimedModule, TimeNetwork
from convsweep.measure.outcome import Outcome, RunInfo
from convsweep.measure.settings import Settings
from convsweep.problems.case import cross
from convsweep.problems.networks import BUILDERS
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import IMAGE, NETWORKS, Layer, workloads
from convsweep.results.networks import (
    CONVOLUTION,
    INSTRUMENTED,
    NETWORKS_TABLE,
    WHOLE,
    NetworkRow,
)
from convsweep.sweep import network_runs
from convsweep.sweep.network_runs import (
    Network,
    NetworkRunner,
    networks_of,
    rows_of,
    time_once,
)
from convsweep.sweep.worker_pool import WorkerDied, WorkerFactory, WorkerTimeout

PROBLEM = ConvProblem(3, 32, (224, 224), 3, stride=2, padding=1)
TIMES = NetworkTimes(
    whole_s=0.5,
    instrumented_s=0.55,
    calls=7,
    parts=[TimedModule(CONVOLUTION, PROBLEM, 2, 0.4), TimedModule("pooling", None, 1, 0.05)],
)
NETWORK = Network("mobilenetv1_100", "mobilenetv1_100", (IMAGE,), "cpu", "float32", "contiguous", 1)
RUN = RunInfo("run", "e0", {})
LAYERS = cross([Layer(PROBLEM, NETWORK.name, "conv1")], ["torch_conv"])


@dataclass
class FakeProcess:
    """Worker process that gives one reply, and keeps its requests and settings."""

    reply: NetworkTimes | Outcome | Exception = TIMES
    requests: list[TimeNetwork] = field(default_factory=list)
    settings: list[Settings] = field(default_factory=list)

    def launch(self, settings: Settings) -> "FakeProcess":
        self.settings.append(settings)
        return self

    def ask(self, request: Message, limit_s: float, on_slow_call: object = None) -> Reply:
        if isinstance(request, TimeNetwork):
            self.requests.append(request)
            if isinstance(self.reply, Exception):
                raise self.reply
            return self.reply
        return {}

    def close(self) -> None:
        pass


class Run:
    """Networks of a run before each of its passes, in fake worker processes."""

    def __init__(
        self, run_dir: Path, *networks: Network, resume: bool = False, launch: WorkerFactory
    ) -> None:
        completed = NETWORKS_TABLE.load_completed(run_dir) if resume else None
        recorded = NETWORKS_TABLE.rows_of(completed.rows) if completed else []
        self._file, self._launch = NETWORKS_TABLE.open(run_dir, completed), launch
        self.runner = NetworkRunner(self._file, recorded, networks or [NETWORK], LAYERS, RUN)

    def before_pass(self, pass_index: int) -> None:
        for network in self.runner.due(pass_index):
            started = network_runs.monotonic()
            times = time_once(network, Settings(), pass_index, self._launch)
            self.runner.add(network, pass_index, times, network_runs.monotonic() - started)

    def passes(self, number: int) -> None:
        for pass_index in range(number):
            self.before_pass(pass_index)
        self._file.close()


def rows(passes: int = 2, found: NetworkTimes | Outcome = TIMES) -> list[list[NetworkRow]]:
    return [rows_of(RUN, NETWORK, index, found, {PROBLEM: "conv1"}) for index in range(passes)]


def written(run_dir: Path, made: Sequence[Sequence[NetworkRow]]) -> Path:
    file = NETWORKS_TABLE.open(run_dir)
    for of_visit in made:
        file.append(*of_visit)
    file.close()
    return run_dir / NETWORKS_TABLE.file_name


def read(run_dir: Path) -> list[NetworkRow]:
    completed = NETWORKS_TABLE.load_completed(run_dir)
    NETWORKS_TABLE.open(run_dir, completed).close()
    return NETWORKS_TABLE.rows_of(completed.rows)


def test_every_builder_is_visited_with_its_layers_settings_and_nothing_else() -> None:
    layers = [*workloads()["vgg16"], *workloads()["densenet121"], Layer(PROBLEM)]
    cases = cross(layers, ["torch_conv", "im2col"], dtypes=["float32", "float64"], threads=[1, 2])
    found = networks_of(cases)
    assert {(n.name, n.dtype, n.threads) for n in found} == {
        ("vgg16", dtype, threads) for dtype in ("float32", "float64") for threads in (1, 2)
    }
    assert len(found) == 4
    assert networks_of(cross(workloads()["densenet121"], ["torch_conv"])) == []


def test_a_visit_is_one_process_with_the_networks_threads() -> None:
    process = FakeProcess()
    found = time_once(replace(NETWORK, threads=2), Settings(seed=3), 4, process.launch)
    assert found == TIMES
    [settings], [request] = process.settings, process.requests
    assert (settings.threads, settings.pass_index, settings.seed) == (2, 4, 3)
    assert (request.maker, request.input_shapes, request.dtype) == (
        NETWORK.maker,
        (IMAGE,),
        "float32",
    )


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [(WorkerTimeout(), "timeout", "120 s"), (WorkerDied("killed by SIGSEGV"), "crash", "SIGSEGV")],
)
def test_a_network_that_ends_its_process_is_an_outcome(
    error: Exception, status: str, reason: str
) -> None:
    found = time_once(NETWORK, Settings(), 0, FakeProcess(error).launch)
    assert isinstance(found, Outcome)
    assert found.status == status
    assert reason in str(found.reason)


def test_the_rows_of_a_visit_hold_every_part_and_end_with_the_whole() -> None:
    [made] = rows(passes=1)
    assert [row.kind for row in made] == [CONVOLUTION, "pooling", INSTRUMENTED, WHOLE]
    convolution, pooling, _, whole = made
    assert (convolution.problem, convolution.layer) == (PROBLEM.label, "conv1")
    assert (convolution.count, convolution.call_s, convolution.total_s) == (2, 0.2, 0.4)
    assert (pooling.problem, pooling.layer) == (None, None)
    assert (whole.total_s, whole.calls, whole.status) == (0.5, 7, "ok")


def test_rows_that_are_written_are_read_back(tmp_path: Path) -> None:
    made = rows()
    written(tmp_path, made)
    assert read(tmp_path) == [row for of_visit in made for row in of_visit]
    frame = NETWORKS_TABLE.load_completed(tmp_path).rows
    assert list(frame.columns) == list(NETWORKS_TABLE.names)
    assert frame.loc[frame["kind"] == WHOLE, "total_s"].to_list() == [0.5, 0.5]
    assert frame["layer"].isna().sum() == 6


def test_a_run_without_networks_has_no_rows(tmp_path: Path) -> None:
    assert NetworkRunner(None, [], [], [], RUN).due(0) == []
    assert NETWORKS_TABLE.load_completed(tmp_path).rows.empty
    assert list(NETWORKS_TABLE.load_completed(tmp_path).rows.columns) == list(NETWORKS_TABLE.names)


@pytest.mark.parametrize("lost", [1, 30, 200, 400])
def test_a_visit_that_was_cut_off_is_left_out_and_made_again(tmp_path: Path, lost: int) -> None:
    made = rows()
    path = written(tmp_path, made)
    path.write_bytes(path.read_bytes()[:-lost])
    assert read(tmp_path) == made[0]
    process = FakeProcess()
    Run(tmp_path, resume=True, launch=process.launch).passes(2)
    assert [settings.pass_index for settings in process.settings] == [1]
    assert [row.pass_index for row in read(tmp_path) if row.kind == WHOLE] == [0, 1]


@pytest.mark.parametrize("kept", [0, 10])
def test_a_file_without_a_whole_header_is_begun_anew(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path, [])
    path.write_bytes(path.read_bytes()[:kept])
    assert read(tmp_path) == []
    assert path.read_bytes().startswith(b"schema_version,")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b",0.5,", b",0.6,"), (b"\n1,run", b"\n2,run"), (b"status", b"state"), (b"pooling", b"")],
)
def test_a_changed_file_is_refused_in_one_line(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = written(tmp_path, rows())
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(ValueError, match=NETWORKS_TABLE.file_name) as raised:
        NETWORKS_TABLE.load_completed(tmp_path)
    assert "\n" not in str(raised.value)


def test_each_pass_has_one_visit_and_a_resumed_run_adds_only_what_is_missing(
    tmp_path: Path,
) -> None:
    process = FakeProcess()
    Run(tmp_path, launch=process.launch).passes(2)
    Run(tmp_path, resume=True, launch=process.launch).passes(3)
    assert [settings.pass_index for settings in process.settings] == [0, 1, 2]
    assert NETWORKS_TABLE.load_completed(tmp_path).rows["pass_index"].unique().tolist() == [0, 1, 2]


def test_a_network_that_failed_is_told_once_and_not_tried_again(tmp_path: Path) -> None:
    process = FakeProcess(Outcome("out_of_memory", "too large"))
    for resume in (False, True):
        Run(tmp_path, resume=resume, launch=process.launch).passes(3)
    assert len(process.requests) == 1
    [row] = read(tmp_path)
    assert (row.status, row.reason, row.total_s) == ("out_of_memory", "too large", None)


def test_one_that_fails_does_not_keep_others_from_their_visits(tmp_path: Path) -> None:
    failing, well = FakeProcess(WorkerDied("killed by SIGKILL")), FakeProcess()
    other = replace(NETWORK, name="resnet18", maker="resnet18")
    Run(
        tmp_path,
        NETWORK,
        other,
        launch=lambda settings: (well if failing.settings else failing).launch(settings),
    ).passes(2)
    frame = NETWORKS_TABLE.load_completed(tmp_path).rows
    assert frame.loc[frame["kind"] == WHOLE, ["network", "status"]].to_numpy().tolist() == [
        ["mobilenetv1_100", "crash"],
        ["resnet18", "ok"],
        ["resnet18", "ok"],
    ]


def test_visits_are_few_and_take_a_bounded_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(network_runs, "monotonic", lambda: now[0])

    class Slow(FakeProcess):
        def ask(self, request: Message, limit_s: float, on_slow_call: object = None) -> Reply:
            now[0] += 10.0 * isinstance(request, TimeNetwork)
            return super().ask(request, limit_s)

    process = Slow()
    run = Run(tmp_path, launch=process.launch)
    for index in range(40):
        run.before_pass(index)
        now[0] += 12.0  # the pass itself
    run.passes(0)
    passes = [settings.pass_index for settings in process.settings]
    assert passes[:3] == [0, 1, 2]
    assert passes[3:]
    assert max(passes) < network_runs.MAX_PASSES
    later = 10.0 * len(passes[3:])
    assert later <= now[0] / 3


def test_the_calls_of_a_network_are_warm_up_and_timing(tmp_path: Path) -> None:
    timed = replace(TIMES, warm_up_s=0.5, timing_s=2.0)
    run = Run(tmp_path, launch=FakeProcess(timed).launch)
    run.runner.add(NETWORK, 0, timed, spent_s=3.0)
    run.runner.add(NETWORK, 1, Outcome("crash"), spent_s=1.0)
    assert run.runner.phases_s == {"networks_s": 1.5, "warm_up_s": 0.5, "timing_s": 2.0}
    run.passes(0)


def test_builders_have_the_names_of_workloads() -> None:
    assert workloads().keys() >= BUILDERS.keys()
    assert tuple(BUILDERS) == NETWORKS
