"""Batch sizes and directions of networks, from the request to networks.csv."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from convsweep.cli.run import run
from convsweep.measure.messages import Message, NetworkTimes, Reply, TimeNetwork
from convsweep.measure.outcome import Outcome, RunInfo
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case, cross
from convsweep.problems.workloads import Layer, workloads
from convsweep.results.checksummed_csv import encode_row
from convsweep.results.networks import NETWORKS_TABLE, WHOLE, NetworkRow
from convsweep.results.store import RunFolder
from convsweep.sweep.network_runs import NetworkRunner, networks_of, rows_of, time_once
from convsweep.sweep.request import Options, Request, read_request

TIMES = NetworkTimes(whole_s=0.5, instrumented_s=0.55, calls=7, parts=[])
RUN = RunInfo("run", "e0", {})


def request(**options: object) -> Request:
    return read_request(Options(backends=["torch_conv"], ceilings=False, **options))


@pytest.mark.parametrize(
    "options", [{"workloads": ["resnet18"]}, {"grid": "smoke"}, {"axes": ["size=7", "groups=2"]}]
)
def test_every_problem_is_measured_at_every_batch_size(options: dict[str, object]) -> None:
    own = {case.layer for case in request(**options).cases}
    found = [case.layer for case in request(**options, batch_sizes=[4, 1, 4]).cases]
    assert len(found) == len({*found}) == 2 * len(own)
    for layer in own:
        for size in (1, 4):
            assert replace(layer, problem=replace(layer.problem, batch_size=size)) in found


def test_batch_sizes_of_a_grid_are_replaced() -> None:
    found = request(grid="batch", batch_sizes=[2]).cases
    assert {case.problem.batch_size for case in found} == {2}
    assert len({case.problem for case in found}) == len(found)


@pytest.mark.parametrize("size", ["0", "-1", "65537", "x"])
def test_an_impossible_batch_size_is_refused_by_name(size: str) -> None:
    found = CliRunner().invoke(run, ["--grid", "smoke", f"--batch-size={size}"])
    assert found.exit_code == 2
    assert "--batch-size" in found.output
    assert size in found.output


def test_two_batch_sizes_of_one_problem_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        request(axes=["batch_size=2"], batch_sizes=[2])


def test_a_network_is_timed_at_each_batch_size_and_in_each_direction() -> None:
    layers = [
        replace(layer, problem=replace(layer.problem, batch_size=size))
        for layer in workloads()["resnet18"]
        for size in (1, 8)
    ]
    cases = [
        replace(case, direction=direction)
        for case in cross(layers, ["torch_conv"])
        for direction in ("forward", "training")
    ]
    found = networks_of(cases)
    assert {(one.direction, one.input_shapes) for one in found} == {
        (direction, ((size, 3, 224, 224),))
        for direction in ("forward", "training")
        for size in (1, 8)
    }
    assert len(found) == len({one.key for one in found}) == 4


class FakeProcess:
    """Worker process that keeps its requests."""

    def __init__(self) -> None:
        self.requests: list[Message] = []

    def launch(self, settings: Settings) -> "FakeProcess":
        return self

    def ask(self, request: Message, limit_s: float, on_slow_call: object = None) -> Reply:
        self.requests.append(request)
        return TIMES if isinstance(request, TimeNetwork) else {}

    def close(self) -> None:
        pass


@pytest.mark.parametrize("direction", ["backward_input", "backward_weight"])
def test_gradients_alone_have_no_network_and_start_no_process(
    tmp_path: Path, direction: str
) -> None:
    cases = [replace(one, direction=direction) for one in resnet(8)]
    [network], process = networks_of(cases), FakeProcess()
    found = time_once(network, Settings(), 0, process.launch)
    assert isinstance(found, Outcome)
    assert (found.status, process.requests) == ("skipped", [])
    assert found.reason
    file = NETWORKS_TABLE.open(tmp_path)
    runner = NetworkRunner(file, [], [network], cases, RUN)
    runner.add(network, 0, found, 0.0)
    file.close()
    assert runner.due(1) == []


def test_the_worker_and_the_rows_have_batch_size_and_direction(tmp_path: Path) -> None:
    cases = [replace(one, direction="training") for one in resnet(8)]
    [network], process = networks_of(cases), FakeProcess()
    assert time_once(network, Settings(), 0, process.launch) == TIMES
    [sent] = [one for one in process.requests if isinstance(one, TimeNetwork)]
    assert (sent.direction, sent.input_shapes) == ("training", ((8, 3, 224, 224),))
    written(tmp_path, rows_of(RUN, network, 0, TIMES, {}))
    [*_, whole] = NETWORKS_TABLE.rows_of(NETWORKS_TABLE.load(tmp_path))
    assert (whole.kind, whole.batch_size, whole.direction) == (WHOLE, 8, "training")
    stored = NETWORKS_TABLE.rows_of(NETWORKS_TABLE.load(tmp_path))
    others = networks_of(resnet(8) + [replace(one, direction="training") for one in resnet(1)])
    runner = NetworkRunner(None, stored, [network, *others], cases, RUN)
    assert runner.due(0) == others


def test_an_older_file_has_forward_passes_of_one_image(tmp_path: Path) -> None:
    [network] = networks_of(resnet(1))
    path = written(tmp_path, rows_of(RUN, network, 0, TIMES, {}))
    cells = [line.split(",")[:-3] for line in path.read_text().splitlines()]
    header = ",".join([*cells[0], "checksum"])
    path.write_bytes(header.encode() + b"\n" + b"".join(map(encode_row, cells[1:])))
    rows = NETWORKS_TABLE.rows_of(RunFolder(tmp_path).networks)
    assert {(row.batch_size, row.direction) for row in rows} == {(1, "forward")}
    with pytest.raises(ValueError, match="older version"):  # rows of another width cannot follow
        NETWORKS_TABLE.load_completed(tmp_path)


def resnet(batch_size: int) -> list[Case]:
    layers = [
        Layer(replace(one.problem, batch_size=batch_size), one.workload, one.name, one.count)
        for one in workloads()["resnet18"]
    ]
    return cross(layers, ["torch_conv"])


def written(run_dir: Path, rows: list[NetworkRow]) -> Path:
    file = NETWORKS_TABLE.open(run_dir)
    file.append(*rows)
    file.close()
    return run_dir / NETWORKS_TABLE.file_name
