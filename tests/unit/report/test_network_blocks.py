"""Networks at several batch sizes, in training, and against sums of blocks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.analysis.network_breakdown import breakdowns_by_setting, network_breakdowns
from convsweep.analysis.network_totals import network_sums, standard_pairs
from convsweep.analysis.run import Run, network_totals, read_run
from convsweep.analysis.summary import summarize
from convsweep.report.plots.style import drawing_style
from convsweep.report.sections import network_breakdown
from convsweep.report.sections import network_totals as totals_section
from convsweep.report.sections.network_totals import read_networks
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support import synthetic_runs as made
from tests.support.synthetic_networks import frame, inside, modelled, rows

Read = Callable[[list[Row]], Run]
OTHERS_S = 2e-4  # of each kind that is no convolution; together 2.5 times as long


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: list[Row]) -> Run:
        measurements = load(made.write(tmp_path / "run", rows))
        return read_run(measurements, summarize(measurements))

    return read


def blocks(*names: str, more: float, **how: int) -> list[Row]:
    """The rows of the blocks of networks, each `more` times as long as its convolution."""
    return [
        replace(row, block="conv_bn_act", median_s=row.median_s and row.median_s * more)
        for row in rows(*names, noise=0.0, **how)
    ]


@pytest.mark.parametrize("more", [1.0, 1.1, 1.5])
def test_the_share_that_blocks_explain_is_that_of_the_gap(read: Read, more: float) -> None:
    run = read(rows("net", noise=0.0) + blocks("net", more=more))
    found = [network_breakdowns(run, frame(inside(others=OTHERS_S)), s) for s in run.settings]
    [one] = [own for own, _ in found if own for own in own]  # blocks have no network of their own
    alone = modelled("net", "torch_conv")
    assert one.explained is not None
    assert one.explained.value == pytest.approx((more - 1) * alone / (2.5 * OTHERS_S), rel=0.02)
    assert one.explained.low <= one.explained.value <= one.explained.high


def test_without_a_gap_or_batch_norm_blocks_explain_nothing(read: Read) -> None:
    run = read(rows("net", noise=0.0) + blocks("net", more=1.1))
    [narrow], _ = network_breakdowns(run, frame(inside(slower=0.5, others=1e-6)), run.settings[0])
    assert narrow.explained is None
    plain = [replace(row, kind=row.kind.replace("batch norm", "linear")) for row in inside()]
    [bare], _ = network_breakdowns(run, frame(plain), run.settings[0])
    assert bare.blocks is None


def test_batch_sizes_are_networks_of_their_own(read: Read) -> None:
    sizes = (1, 8)
    run = read([row for n in sizes for row in rows(noise=0.0, batch_size=n)])
    for backend in ("torch_conv", "im2col"):
        one, eight = (network_totals(run, f"net (batch {n})")[backend].time.value for n in sizes)
        assert one == pytest.approx(modelled("net", backend))
        assert one < eight < 8 * one
    pairs = [(one.network, other.network) for one, other in standard_pairs(network_sums(run))]
    assert pairs == [(f"net (batch {n})", f"net_standard (batch {n})") for n in sizes]
    networks = frame(
        *(inside(name, batch_size=n) for n in sizes for name in ("net", "net_standard"))
    )
    found, absent = network_breakdowns(run, networks, run.settings[0])
    assert absent == {}
    assert sorted(one.network for one in found) == [
        f"{name} (batch {n})" for name in ("net", "net_standard") for n in sizes
    ]
    for one in found:
        assert one.isolated_share.value == pytest.approx(
            one.isolated.time.value / one.end_to_end.time.value
        )


def test_layers_of_different_batch_sizes_are_one_network(read: Read) -> None:
    mixed = [replace(row, workload="mine") for row in rows("net", noise=0.0)]
    second = rows("net", noise=0.0, batch_size=4)
    mixed = [row for row in mixed if row.layer == "stem"] + [
        replace(row, workload="mine") for row in second if row.layer != "stem"
    ]
    assert [one.network for one in network_sums(read(mixed))] == ["mine"]


def test_forward_and_backward_passes_of_a_kind_are_one_part(read: Read) -> None:
    training = [replace(row, direction="training") for row in rows("net", noise=0.0)]
    run = read(rows("net", noise=0.0) + training)
    networks = frame(inside(), inside(backward=0.6))
    forward, step = (network_breakdowns(run, networks, s)[0][0] for s in run.settings)
    assert forward.backward_s is None
    assert step.in_network.time == pytest.approx(forward.in_network.time)
    assert step.backward_s == pytest.approx(0.6 * step.in_network.time.value, rel=0.01)
    assert step.overhead_s > forward.overhead_s
    assert [layer.count for layer in step.layers] == [1, 4, 4]


@pytest.mark.parametrize("more", [0.5, 3.0])
def test_the_gradient_of_the_image_is_in_no_sum_of_a_training_step(read: Read, more: float) -> None:
    found = [
        replace(row, direction="training", median_s=row.median_s and row.median_s * factor)
        for row in rows("net", noise=0.0) + blocks("net", more=1.1)
        for factor in (more if row.layer == "stem" and row.block == "conv" else 1.0,)
    ]
    run = read(found)
    one = next(
        own
        for s in run.settings
        for own in network_breakdowns(run, frame(inside(others=OTHERS_S, backward=0.6)), s)[0]
    )
    assert one.isolated.time.value == pytest.approx(one.in_network.time.value, rel=0.01)
    assert one.layers[0].verdict == "undecided"


def test_the_report_has_a_row_per_network_batch_and_direction(read: Read) -> None:
    found, networks = [], []
    for n in (1, 8):
        for row in rows(noise=0.0, batch_size=n) + blocks(
            "net", "net_standard", more=1.1, batch_size=n
        ):
            found += [row, replace(row, direction="training")]
        for name in ("net", "net_standard"):
            for backward in (0.0, 0.6):
                networks.append(inside(name, others=OTHERS_S, batch_size=n, backward=backward))
    run = read(found)
    whole = breakdowns_by_setting(run, frame(*networks))
    with drawing_style():
        section = network_breakdown.section(whole)
        totals = totals_section.section(read_networks(run, whole))
    assert section is not None
    assert totals is not None
    sums = section.tables[0][1]
    assert sums.heads[-1].startswith("explained")
    assert len({row[:2] for row in sums.rows}) == len(sums.rows) == 8
    assert all(cell for row in sums.rows for cell in row)
    pairs = totals.tables[1][1]
    assert len(pairs.rows) == 8  # of each block, direction and batch size
    assert {row[1] for row in pairs.rows} == {"net (batch 1)", "net (batch 8)"}


def test_a_network_that_is_not_run_in_a_direction_has_a_reason(read: Read) -> None:
    backward = [replace(row, direction="backward_input") for row in rows("net")]
    run = read(backward)
    skipped = replace(
        inside()[-1], status="skipped", reason="why", total_s=None, direction="backward_input"
    )
    found, missing = network_breakdowns(run, frame([skipped]), run.settings[0])
    assert found == []
    assert missing["net"].endswith("why")
