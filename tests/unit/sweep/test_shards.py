"""A sweep dealt to shards: every case once, groups whole, loads even, and the same everywhere."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convsweep import Backend
from convsweep.backends import registry
from convsweep.measure.sampling import MeasurementConfig
from convsweep.measure.settings import Settings
from convsweep.problems.case import Case, cross
from convsweep.problems.grids import GRIDS
from convsweep.sweep.auxiliary_cases import ceiling_cases
from convsweep.sweep.effort import worker_settings
from convsweep.sweep.network_runs import networks_of
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.sharding import MAX_SHARDS, Shard, deal, group_costs_s, parse_shard, shares
from convsweep.system.devices import find_device

ASKED = [
    Options(grid="smoke"),
    Options(grid="depthwise"),
    Options(axes=["in_channels=4,8", "size=7:28:*2"], dtypes=["float32", "float64"]),
    Options(grid="quick", memory_formats=["contiguous", "channels_last"], caches=["hot", "cold"]),
]
costs = st.lists(st.one_of(st.just(0.0), st.floats(0, 1e3)), min_size=1, max_size=60)


def shards_of(wanted: Options, of: int) -> list[Request]:
    return [read_request(replace(wanted, shard=f"{k}/{of}")) for k in range(1, of + 1)]


@given(costs, st.integers(1, 12))
def test_no_load_is_above_an_even_share_by_more_than_the_largest_cost(
    costs_s: list[float], of: int
) -> None:
    dealt = deal(costs_s, of)
    loads = [sum(c for c, k in zip(costs_s, dealt, strict=True) if k == i) for i in range(of)]
    assert max(loads) <= (sum(costs_s) / of + max(costs_s)) * (1 + 1e-12)
    assert deal(costs_s, of) == dealt
    assert len(set(dealt)) == min(of, len(costs_s))


def test_the_largest_are_dealt_first_and_equals_in_their_order() -> None:
    assert deal([1, 1, 1, 1, 4], 2) == [1, 1, 1, 1, 0]
    assert deal([2, 2, 2, 2], 2) == [0, 1, 0, 1]
    assert deal([0, 0, 0], 2) == [0, 1, 0]


@pytest.mark.parametrize("of", [1, 2, 3, 4])
@pytest.mark.parametrize("wanted", ASKED, ids=range(len(ASKED)))
def test_shards_have_every_case_and_half_once_and_whole_groups(wanted: Options, of: int) -> None:
    whole, parts = read_request(wanted), shards_of(wanted, of)
    assert Counter(c for part in parts for c in part.cases) == Counter(whole.cases)
    assert Counter(c for part in parts for c in part.separable_parts) == Counter(
        whole.separable_parts
    )
    groups = [{case.siblings for case in part.cases} for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert all(groups)
    for part in parts:
        own = {*part.cases}
        assert [*part.cases] == [case for case in whole.cases if case in own]
        assert part.ceilings == ceiling_cases(part.cases, {"cpu": find_device("cpu")})


def test_loads_of_shards_are_even() -> None:
    whole = read_request(ASKED[3])
    settings = Settings(case_timeout_s=whole.case_timeout_s, effort=MeasurementConfig())
    costs_s = group_costs_s(whole.cases, whole.backends, settings, whole.passes)
    loads = [
        sum(costs_s[own] for own in {case.siblings for case in part.cases})
        for part in shards_of(ASKED[3], 5)
    ]
    assert max(loads) <= sum(costs_s.values()) / 5 + max(costs_s.values())


def test_what_is_not_installed_here_moves_no_case_to_another_shard() -> None:
    cases = cross(GRIDS["quick"].layers(), ("a", "b"))

    def dealt(*modules: str) -> list[list[Case]]:
        backends = {
            "a": Backend("a", lambda problem, weights: None),
            "b": Backend("b", lambda problem, weights: None, modules=modules),
        }
        assert bool(registry.missing_package(backends["b"])) == bool(modules)
        costs_s = group_costs_s(cases, backends, Settings(), 3)
        return shares(cases, costs_s, Shard(3, 3))

    assert dealt("no_such_package") == dealt()


@pytest.mark.parametrize("of", [2, 3])
def test_each_network_is_run_by_the_shard_that_has_its_first_layer(of: int) -> None:
    wanted = Options(
        workloads=["resnet18", "vgg16"], backends=["torch_conv"], caches=["hot", "cold"]
    )
    whole, parts = read_request(wanted), shards_of(wanted, of)
    run = [networks_of(whole.cases, {*part.cases}) for part in parts]
    assert Counter(n for own in run for n in own) == Counter(networks_of(whole.cases))


def test_a_shard_tells_of_itself_and_of_the_whole() -> None:
    whole, parts = read_request(ASKED[1]), shards_of(ASKED[1], 3)
    metadata = [part.to_metadata() for part in parts]
    assert [one["shard"] for one in metadata] == ["1/3", "2/3", "3/3"]
    full = whole.to_metadata()
    assert full["shard"] is None
    assert len({one["case_hash"] for one in metadata}) == 3
    for name in ("full_request_hash", "full_case_count"):
        assert {one[name] for one in metadata} == {full[name]}
    assert sum(int(str(one["case_count"])) for one in metadata) == full["full_case_count"]
    other = read_request(ASKED[0]).to_metadata()
    assert other["full_request_hash"] != full["full_request_hash"]


@pytest.mark.parametrize("budget", ["3s", "4s", "5s", "15s", "600s"])
def test_shards_measure_as_much_of_a_case_whatever_the_budget(budget: str) -> None:
    wanted = Options(axes=["in_channels=4,256", "size=7,112"], backends=["im2col"], budget=budget)
    assert len({worker_settings(part) for part in shards_of(wanted, 3)}) == 1


def test_only_budgets_that_references_would_use_up_need_the_fast_check() -> None:
    def fast(**more: str) -> bool:
        axes = ["in_channels=256,512", "out_channels=512", "size=56"]
        return worker_settings(
            read_request(Options(axes=axes, backends=["torch_conv"], **more))
        ).fast_check

    assert (fast(budget="20s"), fast(budget="1h"), fast()) == (True, False, False)


def test_folders_of_shards_that_begin_at_once_have_names_of_their_own() -> None:
    assert [part.run_name for part in shards_of(ASKED[0], 2)] == ["smoke-1of2", "smoke-2of2"]
    assert read_request(ASKED[0]).run_name == "smoke"


@given(st.integers(1, MAX_SHARDS), st.integers(1, MAX_SHARDS))
def test_a_shard_is_read_as_it_is_written(first: int, second: int) -> None:
    shard = Shard(min(first, second), max(first, second))
    assert parse_shard(str(shard)) == shard


@pytest.mark.parametrize(
    "text", ["0/4", "3/2", "1/0", "x", "1/1.5", "", "1", "1/", "-1/2", "1/2/3", "1 / 2", "1/2\n",
             "\u0661/2", "9" * 99]
)  # fmt: skip
def test_what_is_no_shard_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not k/n with 1 <= k <= n, such as 2/3") as raised:
        parse_shard(text)
    assert str(raised.value).isprintable()
    assert text.strip()[:40] in str(raised.value)


def test_too_many_shards_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1/10001.*10000"):
        parse_shard("1/10001")
    with pytest.raises(ValueError, match="--shard 1/9 leaves shards empty: there are 4 problems"):
        read_request(replace(ASKED[0], shard="1/9"))
