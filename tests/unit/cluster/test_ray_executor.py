"""A sweep over a fake cluster whose nodes die at the worst moments."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convsweep.cluster.executor import RETRIES, RayExecutor
from convsweep.cluster.node_groups import NodeGroup
from convsweep.measure.outcome import Outcome
from convsweep.problems.case import Case
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.results.schema import ROOFLINE
from convsweep.results.store import load, read_environment
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.session import SweepResult, run_sweep
from convsweep.sweep.work_queue import Progress
from tests.support.fake_ray import FakePool, node_group, ok

NAMES = ("a", "b", "c")


def request(**words: Any) -> Request:
    """A small sweep of two passes."""
    plain = {"grid": "smoke", "ceilings": False, "passes": 2, "backends": ("torch_conv", "im2col")}
    return read_request(Options(**plain | words))


def sweep(
    groups: list[NodeGroup], pool: FakePool, out: Path, *, resume: bool = False
) -> tuple[SweepResult, list[Progress]]:
    progress: list[Progress] = []
    executor = RayExecutor(groups, pool)
    result = run_sweep(executor, out, "run", "convsweep run", progress.append, resume=resume)
    return result, progress


def measurements(out: Path) -> list[tuple[Any, ...]]:
    """Environment, pass, problem and backend of every row."""
    rows = load(out)
    names = ["environment_id", "pass_index", "problem", "backend"]
    return [tuple(row) for row in rows[names].to_numpy()]


def every_measurement(groups: list[NodeGroup]) -> set[tuple[Any, ...]]:
    return {
        (one.environment.id, pass_index, case.problem.label, case.backend)
        for one in groups
        for pass_index in range(one.environment.request.passes)
        for case in one.environment.request.cases
    }


def test_a_problem_is_on_one_node_in_all_its_settings(tmp_path: Path) -> None:
    wanted = request(dtypes=("float32", "bfloat16"), caches=("hot", "cold"))
    sweep([node_group(wanted, NAMES)], FakePool(NAMES), tmp_path / "run")
    rows = load(tmp_path / "run")
    assert len(rows) == wanted.passes * len(wanted.cases)
    assert (rows.groupby(["pass_index", "problem"])["node"].nunique() == 1).all()
    assert rows["node"].nunique() == len(NAMES)


@settings(max_examples=8)
@given(
    names=st.integers(2, 4).map(lambda n: tuple("abcd"[:n])),
    deaths=st.dictionaries(st.integers(1, 8), st.sampled_from("abcd"), max_size=3),
)
def test_whatever_nodes_die_every_case_has_one_row_a_pass(
    tmp_path_factory: pytest.TempPathFactory, names: tuple[str, ...], deaths: dict[int, str]
) -> None:
    mortal = dict.fromkeys(name for name in deaths.values() if name in names[1:])
    when = {moment: name for moment, name in deaths.items() if name in mortal}
    once = {name: moment for moment, name in when.items()}  # each of them once, the first stays
    pool = FakePool(names, deaths={moment: name for name, moment in once.items()})
    groups = [node_group(request(), names)]
    out = tmp_path_factory.mktemp("run") / "run"
    result, progress = sweep(groups, pool, out)
    found = measurements(out)
    assert len(found) == len(set(found))
    assert set(found) == every_measurement(groups)
    assert result.end_reason == "all_passes"
    assert progress[-1].done == progress[-1].total == len(found)
    lost = read_environment(out)["task_losses"]
    assert len(lost) <= len(once)
    assert all("is gone" in loss["reason"] for loss in lost)
    assert pool.most_in_flight <= 2 * len(names)


def test_a_group_that_loses_every_process_crashes_after_the_retries(tmp_path: Path) -> None:
    wanted = request()
    victim = wanted.cases[0].group
    pool = FakePool(NAMES, crashes=lambda cases: cases[0].group == victim)
    sweep([node_group(wanted, NAMES)], pool, tmp_path / "run")
    rows = load(tmp_path / "run")
    crashed = rows[rows["status"] == "crash"]
    assert set(crashed["problem"]) == {victim.problem.label}
    assert len(crashed) == 2 * len(wanted.backends)  # both passes; the second is not tried again
    assert crashed["reason"].str.contains(f"lost {RETRIES + 1} times").all()
    assert [loss["attempt"] for loss in read_environment(tmp_path / "run")["task_losses"]] == [
        1,
        2,
        3,
        4,
    ]
    assert set(rows.loc[rows["status"] == "ok", "node"]) == set(NAMES)


def test_without_a_node_the_run_ends_and_goes_on_later(tmp_path: Path) -> None:
    out, wanted = tmp_path / "run", request()
    first = [node_group(wanted, ["a", "b"])]
    result, _ = sweep(first, FakePool(["a", "b"], deaths={1: "a", 3: "b"}), out)
    before = measurements(out)
    assert result.end_reason == read_environment(out)["end_reason"] == "nodes_lost"
    assert 0 < len(before) < len(every_measurement(first))
    assert set(load(out)["status"]) == {"ok"}  # no case is blamed for what its nodes did
    result, _ = sweep([node_group(wanted, ["c"])], FakePool(["c"]), out, resume=True)
    assert result.end_reason == "all_passes"
    assert measurements(out)[: len(before)] == before
    assert sorted(measurements(out)) == sorted(every_measurement(first))
    metadata = read_environment(out)
    assert set(metadata["ray"]["nodes"]) == {"a", "b", "c"}
    assert metadata["task_losses"]
    spent = metadata["time_spent"]
    sweep([node_group(wanted, ["c"])], FakePool(["c"]), out, resume=True)
    assert read_environment(out)["time_spent"]["timing_s"] == spent["timing_s"] > 0


def test_kinds_are_measured_side_by_side_and_never_compared(tmp_path: Path) -> None:
    wanted, out = request(), tmp_path / "run"
    groups = [node_group(wanted, ["a", "b"], "e0"), node_group(wanted, ["c"], "e1")]

    def behave(case: Case, node_id: str) -> Outcome:
        slow = {"torch_conv": 2.0, "im2col": 1.0} if node_id == "c" else {}
        time_s = 1e-4 * slow.get(case.backend, 1.0)
        return Outcome("ok", median_s=time_s, time_s=time_s, first_call_s=1e-4)

    sweep(groups, FakePool(NAMES, behave), out)
    rows = load(out)
    assert sorted(measurements(out)) == sorted(every_measurement(groups))
    where = rows.groupby("environment_id")["node"].agg(set).to_dict()
    assert where == {"e0": {"a", "b"}, "e1": {"c"}}
    metadata = read_environment(out)
    assert set(metadata["environments"]) == {"e0", "e1"}
    assert "environment_id" not in metadata
    assert metadata["environments"]["e1"]["machine"]["cpu"] == "CPU of e1"
    import pandas as pd

    summary = pd.read_csv(out / "summary.csv")
    speedups = summary[summary["backend"] == "im2col"].groupby("environment_id")["speedup"].mean()
    assert speedups.round(6).to_dict() == {"e0": 1.0, "e1": 2.0}


def test_a_run_is_gone_on_with_on_the_same_kinds_alone(tmp_path: Path) -> None:
    wanted, out = request(), tmp_path / "run"
    sweep([node_group(wanted, ["a"], "e0")], FakePool(["a"]), out)
    with pytest.raises(ValueError, match="was 'e0' and is 'e1'"):
        sweep([node_group(wanted, ["a"], "e1")], FakePool(["a"]), out, resume=True)
    with pytest.raises(ValueError, match="not an empty or new folder"):
        sweep([node_group(wanted, ["a"], "e0")], FakePool(["a"]), out)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_an_interrupt_lets_what_is_measured_end_and_nothing_is_lost(
    tmp_path: Path, after: int
) -> None:
    wanted, out = request(passes=4), tmp_path / "run"
    groups = [node_group(wanted, NAMES)]

    def interrupt(answers: int) -> None:
        if answers == after:
            os.kill(os.getpid(), signal.SIGINT)

    pool = FakePool(NAMES, stop=interrupt)
    result, _ = sweep(groups, pool, out)
    assert result.end_reason == "interrupted"
    before = measurements(out)
    assert len(before) == sum(pool.measured.values()) < len(every_measurement(groups))
    assert pool.cancelled == []
    sweep(groups, FakePool(NAMES), out, resume=True)
    assert measurements(out)[: len(before)] == before
    assert sorted(measurements(out)) == sorted(every_measurement(groups))


def test_what_has_failed_once_is_not_sent_again(tmp_path: Path) -> None:
    wanted = request(backends=("torch_conv", "im2col", "separable"))

    def behave(case: Case, node_id: str) -> Outcome:
        return Outcome("skipped", "no") if case.backend == "separable" else ok(case, node_id)

    pool = FakePool(NAMES, behave)
    sweep([node_group(wanted, NAMES)], pool, tmp_path / "run")
    sent = {pass_index for pass_index, case in pool.measured if case.backend == "separable"}
    assert sent == {0}
    rows = load(tmp_path / "run")
    separable = rows[rows["backend"] == "separable"]
    assert set(separable["pass_index"]) == {0, 1}
    assert separable.loc[separable["pass_index"] == 1, "node"].isna().all()


def test_every_measurement_has_a_seed_of_its_own_and_knows_its_pass(tmp_path: Path) -> None:
    wanted = request(threads=(1,), ceilings=True)
    pool = FakePool(NAMES)
    sweep([node_group(wanted, NAMES)], pool, tmp_path / "run")
    assert len({own.seed for own in pool.settings}) == len(pool.settings)
    assert {own.pass_index for own in pool.settings} == {0, 1}
    assert {own.memory_limit_bytes for own in pool.settings} == {None}  # the node's own to say
    assert (load(tmp_path / "run")["role"] == ROOFLINE).sum() > 0


def test_a_budget_is_looked_at_after_every_pass(tmp_path: Path) -> None:
    wanted = request(passes=50, precision="50%")
    result, progress = sweep([node_group(wanted, NAMES)], FakePool(NAMES), tmp_path / "run")
    assert result.end_reason == "converged"
    assert load(tmp_path / "run")["pass_index"].max() < 49
    assert progress[-1].total is None
    assert len(result.open_comparisons) == 1


def test_whole_networks_are_run_on_every_kind(tmp_path: Path) -> None:
    wanted = request(grid=None, workloads=("mobilenetv1_100",), backends=("torch_conv",))
    groups = [node_group(wanted, ["a", "b"], "e0"), node_group(wanted, ["c"], "e1")]
    pool = FakePool(NAMES)
    sweep(groups, pool, tmp_path / "run")
    found = NETWORKS_TABLE.load_completed(tmp_path / "run").rows
    whole = found[found["kind"] == "whole"]
    where = sorted(zip(whole["environment_id"], whole["pass_index"], strict=True))
    assert where == [("e0", 0), ("e0", 1), ("e1", 0), ("e1", 1)]
    assert set(whole["status"]) == {"ok"}
    assert len(pool.networks) == 4


def test_a_network_that_loses_every_process_crashes_too(tmp_path: Path) -> None:
    wanted = request(grid=None, workloads=("mobilenetv1_100",), backends=("torch_conv",))
    pool = FakePool(NAMES, crashes=lambda cases: not cases)
    result, _ = sweep([node_group(wanted, NAMES)], pool, tmp_path / "run")
    assert result.end_reason == "all_passes"
    found = NETWORKS_TABLE.load_completed(tmp_path / "run").rows
    assert set(found["status"]) == {"crash"}
    assert set(load(tmp_path / "run")["status"]) == {"ok"}


def test_a_task_that_raises_ends_the_run_and_leaves_its_rows(tmp_path: Path) -> None:
    def behave(case: Case, node_id: str) -> Outcome:
        if case.problem.kernel_size == (3, 3):
            raise RuntimeError("a fault of convsweep's own")
        return ok(case, node_id)

    class Raising(FakePool):
        def _answer(self, arguments: tuple[Any, ...], name: str) -> Any:
            try:
                return super()._answer(arguments, name)
            except RuntimeError as error:
                return error

    pool = Raising(NAMES, behave)
    with pytest.raises(RuntimeError, match="own"):
        sweep([node_group(request(), NAMES)], pool, tmp_path / "run")
    assert pool.cancelled
    assert len(load(tmp_path / "run")) > 0
