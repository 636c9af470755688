"""Which nodes may measure, which can stand for each other, and what is refused before it begins."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep.cluster import node_groups
from convsweep.cluster.address import parse_address
from convsweep.cluster.cores import choose, every_core, spare_cores, staying_on
from convsweep.cluster.node_groups import describe_nodes, fitting_nodes, gpus_for, group_nodes
from convsweep.cluster.node_info import NodeDevice, installed
from convsweep.cluster.pool import SLOT, slots_of
from convsweep.measure.settings import Settings
from convsweep.sweep.request import Options, aa_request
from tests.support.fake_ray import FakePool, node, node_info

SMOKE = Options(grid="smoke", ceilings=False)


def test_an_address_is_a_running_cluster_or_one_to_start() -> None:
    pytest.importorskip("ray")
    assert parse_address("auto").endpoint is None
    assert parse_address("10.0.0.7:6379").endpoint == ("10.0.0.7", 6379)
    assert parse_address("[::1]:6379").endpoint == ("::1", 6379)
    assert [parse_address(text).local_nodes for text in ("auto", "local", "local:3")] == [0, 1, 3]


@pytest.mark.parametrize(
    "text",
    ["", "here", "local:0", "local:17", "local:x", "host", "host:0", "host:65536", ":6379",
     "ray://host:10001", "host:6379/x", "a b:1"],
)  # fmt: skip
def test_a_wrong_address_is_named_with_what_is_allowed(text: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match="--ray") as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.sets(st.integers(0, 15), min_size=1), st.sets(st.integers(0, 15)), st.integers(1, 16))
def test_slots_keep_off_rays_own_cores_where_others_are_enough(
    allowed: set[int], rays: set[int], threads: int
) -> None:
    chosen = choose(allowed, rays, threads)
    assert list(chosen) == sorted(set(chosen))
    if len(allowed - rays) >= threads:
        assert set(chosen) == allowed - rays
    else:
        assert set(chosen) == allowed


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system knows no affinities")
def test_a_process_confined_to_a_core_measures_on_the_others() -> None:
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("there is one core")
    first = min(before)
    with staying_on([first]):
        assert spare_cores(1) == tuple(sorted(before - {first}))
        with every_core():
            assert os.sched_getaffinity(0) == before
        assert os.sched_getaffinity(0) == {first}
    assert os.sched_getaffinity(0) == before
    assert spare_cores(1) == tuple(sorted(before))


def test_a_slot_takes_all_that_the_least_node_offers() -> None:
    nodes = [node("a", cpus=4.0), node("b", cpus=2.0)]
    assert slots_of(nodes, 1.0).cpus == 2.0
    assert slots_of(nodes, 1.0).gpus == 1.0
    assert [gpus_for(names) for names in (["cpu"], ["cpu", "vulkan"], ["cpu", "cuda"])] == [0, 0, 1]


def test_nodes_are_chosen_by_slot_and_label() -> None:
    nodes = [node("a", labels={"kind": "big"}), node("b"), node("c", slots=0.0)]
    assert [one.name for one in fitting_nodes(nodes, None)] == ["a", "b"]
    assert [one.name for one in fitting_nodes(nodes, "kind=big")] == ["a"]
    with pytest.raises(ValueError, match="'kind=small'; there is kind=big"):
        fitting_nodes(nodes, "kind=small")
    with pytest.raises(ValueError, match="'kind'"):
        fitting_nodes(nodes, "kind")
    with pytest.raises(ValueError, match="node d offers 2 of convsweep_slot: it has to be 1"):
        fitting_nodes([*nodes, node("d", slots=2.0)], None)
    with pytest.raises(ValueError, match="the label 'kind=big'; none has any"):
        fitting_nodes(nodes[1:], "kind=big")
    with pytest.raises(ValueError, match=f"none of the cluster's 1 nodes offers a slot.*{SLOT}"):
        fitting_nodes(nodes[2:], None)


def test_nodes_of_one_environment_are_a_kind() -> None:
    described = [
        (node("a"), node_info("e0")),
        (node("b"), node_info("e1", cores=4)),
        (node("c"), node_info("e0")),
    ]
    groups = group_nodes(described, SMOKE)
    found = {group.environment.id: [one.name for one in group.nodes] for group in groups}
    assert found == {"e0": ["a", "c"], "e1": ["b"]}
    assert groups[0].environment.request.device_descriptions == {"cpu": "CPU of e0"}
    assert groups[0].name == "2 nodes of CPU of e0, 2 cores"
    twins = group_nodes(described, SMOKE, aa_request)
    assert {group.environment.request.name for group in twins} == {"noise"}


def test_a_shard_is_of_one_kind() -> None:
    described = [(node("a"), node_info("e0")), (node("b"), node_info("e1"))]
    wanted = Options(grid="smoke", shard="1/2")
    assert len(group_nodes(described[:1], wanted)) == 1
    with pytest.raises(ValueError, match="--shard 1/2"):
        group_nodes(described, wanted)


def test_every_kind_runs_the_devices_that_it_has() -> None:
    gpu = {"cpu": NodeDevice("C", 2**25), "cuda": NodeDevice("G", 2**26)}
    described = [
        (node("a"), node_info("e0")),
        (node("b", gpus=1.0), node_info("e1", devices=("cpu", "cuda"), requested_devices=gpu)),
    ]
    wanted = Options(grid="smoke", devices=("cpu", "cuda"))
    groups = {group.environment.id: group for group in group_nodes(described, wanted)}
    assert list(groups["e0"].environment.request.device_descriptions) == ["cpu"]
    assert list(groups["e1"].environment.request.device_descriptions) == ["cpu", "cuda"]
    assert {case.device for case in groups["e1"].environment.request.ceilings} == {"cpu", "cuda"}
    assert (groups["e0"].slots.gpus, groups["e1"].slots.gpus) == (0.0, 1.0)


def test_nodes_with_too_few_cores_stay_out() -> None:
    described = [(node("a"), node_info("e0")), (node("b"), node_info("e1", cores=8))]
    (group,) = group_nodes(described, Options(grid="smoke", threads=(1, 4)))
    assert [one.name for one in group.nodes] == ["b"]
    with pytest.raises(ValueError, match="no node has device 'cpu' and 9 cores; there is a: cpu"):
        group_nodes(described, Options(grid="smoke", threads=(9,)))


def test_a_device_that_no_node_has_is_named_with_what_there_is() -> None:
    described = [(node("a"), node_info()), (node("b"), node_info(cores=4))]
    with pytest.raises(
        ValueError, match="no node has device 'cuda'; there is a: cpu, 2 cores; b: cpu, 4 cores"
    ):
        group_nodes(described, Options(grid="smoke", devices=("cpu", "cuda")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"convsweep": "0.0.1"}, "node b has convsweep 0.0.1"),
        ({"schema_version": 1}, "of schema version 1"),
        ({"versions": {}}, "is not installed on node b"),
        ({"versions": dict.fromkeys(installed(), "9")}, "is 9 on node b"),
    ],
)
def test_a_node_with_other_versions_is_named_before_anything_runs(
    changes: dict[str, Any], words: str
) -> None:
    described = [(node("a"), node_info()), (node("b"), node_info(**changes))]
    with pytest.raises(ValueError, match=words):
        group_nodes(described, SMOKE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metadata": node_info().metadata | {"commit": "def"}}, "abc and def"),
        ({"versions": installed() | {"torch_conv": None}}, "'torch_conv' is .* and not installed"),
        ({"process_setup": {"niceness": 15, "allocator": "retain"}}, "have niceness -10 and 15"),
    ],
)
def test_nodes_of_one_environment_that_differ_all_the_same_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    described = [(node("a"), node_info()), (node("b"), node_info(**changes))]
    with pytest.raises(ValueError, match=f"nodes a and b have one environment_id, but .*{words}"):
        group_nodes(described, SMOKE)


def test_what_a_node_lacks_is_told_by_its_rows_if_all_of_its_kind_lack_it() -> None:
    lacking = node_info(versions=installed() | {"torch_conv": None})
    (group,) = group_nodes([(node("a"), lacking), (node("b"), lacking)], SMOKE)
    assert len(group.nodes) == 2
    assert group.missing == ("torch_conv",)


def test_backends_have_the_versions_of_the_nodes() -> None:
    known = installed()
    here = {name: None for name in known if name == "torch_conv"}
    assert here
    described = node_info(versions=known)
    (group,) = group_nodes([(node("a"), described)], SMOKE)
    assert {name: b.version for name, b in group.environment.request.backends.items()} == {
        name: known[name] for name in group.environment.request.backends
    }


def test_a_node_that_never_answers_is_named_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_groups, "_LIMIT_S", 0.0)
    silent = FakePool("ab", infos={"a": node_info(), "b": node_info()})
    monkeypatch.setattr(silent, "ready", lambda tickets, timeout_s: [])
    waits: list[str] = []
    with pytest.raises(ValueError, match="a, b"):
        describe_nodes(silent, silent.nodes(), ["cpu"], Settings(), waits.append)
    assert len(waits) == 1
    assert len(silent.cancelled) == 2


def test_nodes_that_can_not_introduce_themselves_are_named() -> None:
    broken = FakePool("a", infos={"a": ModuleNotFoundError("No module named 'convsweep'")})
    with pytest.raises(ValueError, match="node a can't run convsweep: No module named"):
        describe_nodes(broken, broken.nodes(), ["cpu"], Settings(), print)
    fine = FakePool("ab", infos={"a": node_info("e0"), "b": node_info("e1")})
    described = describe_nodes(fine, fine.nodes(), ["cpu"], Settings(), print)
    assert [found.metadata["environment_id"] for _, found in described] == ["e0", "e1"]
