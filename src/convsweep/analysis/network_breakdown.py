"""Breakdown of whole networks: end-to-end time, convolutions alone and in the network, the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pandas import DataFrame, Series

from convsweep.analysis.estimates import Array, Interval, estimate, interval, plain_interval
from convsweep.analysis.labels import name_networks
from convsweep.analysis.network_totals import Sum, ratio, sum_layers
from convsweep.analysis.run import Run
from convsweep.problems.case import CONV, CONV_BN_ACT
from convsweep.results.networks import BACKWARD, CONVOLUTION, INSTRUMENTED, OTHER, WHOLE
from convsweep.results.schema import BASELINE

UNATTRIBUTED = "in no call"
"""Time in no call into torch: Python, and interruptions of a forward pass."""
UNDECIDED = "undecided"
_CONDITIONS = ["device", "dtype", "memory_format", "threads", "direction", "environment_id"]


@dataclass(frozen=True, kw_only=True)
class ConvolutionsBreakdown:
    """Sums of some convolutions, each timed alone, and of the same ones within the network."""

    isolated: Sum
    in_network: Sum
    overhead_s: float  # seconds that timing all of them may have added, at most

    @property
    def slowdown(self) -> Interval:
        """Time within the network / time alone."""
        return ratio(self.in_network, self.isolated)

    @property
    def extra_s(self) -> float:
        """Seconds that they take more within the network."""
        return self.in_network.time.value - self.isolated.time.value

    @property
    def verdict(self) -> str:
        """`slower`, `faster` or `undecided` in the network; timing overhead is not slower."""
        if self.slowdown.low > 1 and self.extra_s > self.overhead_s:
            return "slower"
        return "faster" if self.slowdown.high < 1 else UNDECIDED


@dataclass(frozen=True, kw_only=True)
class LayerBreakdown(ConvolutionsBreakdown):
    """All convolutions of one problem in a network."""

    layer: str
    count: int


@dataclass(frozen=True, kw_only=True)
class NetworkBreakdown(ConvolutionsBreakdown):
    """One network in one setting; all times are seconds of one forward pass or training step."""

    network: str
    end_to_end: Sum
    others: Mapping[str, Sum]  # calls of other kinds, the longest first
    layers: Sequence[LayerBreakdown]
    passes: int
    cold: Sum | None = None  # sum of the convolutions alone with cold caches; None if not measured
    blocks: Sum | None = None  # sum of the convolutions with batch norm and activation, each alone
    backward_s: float | None = None  # seconds of all backward passes

    @property
    def isolated_share(self) -> Interval:
        """Sum of the convolutions alone / end-to-end time."""
        return ratio(self.isolated, self.end_to_end)

    @property
    def explained(self) -> Interval | None:
        """Share of the time beyond the convolutions alone that blocks add; None without either."""
        if self.blocks is None or not self.isolated_share.high < 1:
            return None
        alone, blocks, whole = (
            np.exp(one.log_s) for one in (self.isolated, self.blocks, self.end_to_end)
        )
        return plain_interval(estimate((blocks - alone) / (whole - alone)))

    @property
    def unattributed_s(self) -> float:
        """End-to-end seconds in none of the parts; noise may make it negative."""
        parts = [self.in_network, *self.others.values()]
        return self.end_to_end.time.value - sum(part.time.value for part in parts)


Breakdowns = tuple[list[NetworkBreakdown], dict[str, str]]


def breakdowns_by_setting(run: Run, networks: DataFrame) -> dict[str, Breakdowns]:
    """Return the `network_breakdowns` of each setting."""
    return {setting: network_breakdowns(run, networks, setting) for setting in run.settings}


def network_breakdowns(run: Run, networks: DataFrame, setting: str) -> Breakdowns:
    """Return the networks of one setting, and the reasons of those without a breakdown.

    Args:
        run: results of the layers, in all settings.
        networks: all rows of networks.csv.
        setting: setting with hot caches; a setting with cold caches has no networks.
    """
    own = run.within(setting)
    others = (
        _other_setting(run, setting, cache="cold"),
        _other_setting(run, setting, block=CONV_BN_ACT),
    )
    bare = own.cases["cache"].eq("hot") & own.cases["block"].eq(CONV)
    conditions = own.cases.loc[bare, _CONDITIONS].drop_duplicates()
    names = name_networks(networks["network"], networks["batch_size"], run.cases)
    rows = networks.assign(network=names).merge(conditions, on=_CONDITIONS)
    by_name = rows.groupby("network", sort=False)
    found = {str(name): _breakdown(own, *others, str(name), rows) for name, rows in by_name}
    return (
        [one for one in found.values() if not isinstance(one, str)],
        {name: reason for name, reason in found.items() if isinstance(reason, str)},
    )


def _other_setting(run: Run, setting: str, **changed: str) -> Run | None:
    """Return the same setting with other values of some columns; None if the run has none."""
    columns = [*_CONDITIONS, "cache", "block"]
    where = run.cases.drop_duplicates("setting").set_index("setting")[columns]
    wanted = where.loc[setting].copy()
    wanted.update(Series(changed))
    names = where.index[where.eq(wanted).all(axis=1)]
    return run.within(str(names[0])) if len(names) else None


def _breakdown(
    run: Run, cold: Run | None, blocks: Run | None, name: str, rows: DataFrame
) -> NetworkBreakdown | str:
    """Return the breakdown of one network, or why there is none."""
    failed = rows[rows["status"] != "ok"]
    timed = rows[rows["status"] == "ok"]
    if len(timed) and (failed["status"] == "timeout").all():  # of a budget, in later passes
        rows = timed
    elif len(failed):
        last = failed.fillna({"reason": ""}).iloc[-1]
        if last["status"] == "skipped":
            return f"is not run end to end: {last['reason']}"
        words = [str(last["status"]).replace("_", " "), str(last["reason"])]
        return f"failed end to end: {', '.join(filter(None, words))}"
    is_backward = rows["kind"].str.startswith(BACKWARD)
    rows = rows.assign(kind=rows["kind"].str.removeprefix(BACKWARD), backward=is_backward)
    # Convolutions without a problem, such as transposed ones, count among the other calls.
    is_plain = (rows["kind"] != CONVOLUTION) | rows["problem"].notna()
    rows = rows.assign(kind=rows["kind"].where(is_plain, OTHER))
    convolutions = rows[rows["kind"] == CONVOLUTION]
    convolutions = convolutions.drop_duplicates(["problem", "backward", "pass_index"])
    first = convolutions.drop_duplicates("problem")
    problems, counts = first["problem"].to_list(), first["count"].to_numpy(dtype="float64")
    isolated = _isolated(run, name)
    missing = len(set(problems) - isolated.keys())
    if missing or not problems:
        of = f"{missing} of {len(problems)} distinct convolutions"
        return f"has no breakdown: {of} have no time alone"
    in_network = _by_pass(convolutions, "problem", run).loc[problems]
    log_in_network = np.log(in_network.to_numpy(dtype="float64"))
    others = _others(run, rows[rows["kind"] != INSTRUMENTED])
    backward_s = rows[rows["backward"]].groupby("pass_index")["total_s"].sum()
    is_training = len(backward_s) > 0  # each call is timed twice: forward and backward
    overhead_s = counts * _call_overhead_s(rows) * (1 + is_training)
    # A layer alone computes the gradient of its input, a network's first layer does not.
    own_s = np.exp(log_in_network[0]) / counts[0]
    image_s = np.exp(isolated[problems[0]]) - own_s if is_training else np.zeros(1)
    log_isolated = _log_alone(isolated, problems, image_s)
    of_others = [{} if other is None else _isolated(other, name) for other in (cold, blocks)]
    cold_sum, block_sum = (
        sum_layers(_log_alone(own, problems, image_s), counts)
        if {*problems} <= own.keys()
        else None
        for own in of_others
    )
    return NetworkBreakdown(
        network=name,
        end_to_end=others.pop(WHOLE),
        isolated=sum_layers(log_isolated, counts),
        in_network=sum_layers(log_in_network, np.ones(len(problems))),
        overhead_s=float(overhead_s.sum()),
        others=dict(sorted(others.items(), key=lambda item: -item[1].time.value)),
        layers=[
            LayerBreakdown(
                layer=str(layer),
                count=int(counts[i]),
                isolated=sum_layers(log_isolated[[i]], counts[[i]]),
                in_network=sum_layers(log_in_network[[i]], np.ones(1)),
                overhead_s=float(overhead_s[i]),
            )
            for i, layer in enumerate(first["layer"])
        ],
        passes=int(rows["pass_index"].nunique()),
        cold=cold_sum,
        blocks=block_sum if "batch norm" in others else None,
        backward_s=float(backward_s.median()) if is_training else None,
    )


def _call_overhead_s(rows: DataFrame) -> float:
    """Return by how much timing one call lengthens the pass or step; the median over passes."""
    totals = rows.pivot_table(index="pass_index", columns="kind", values="total_s", aggfunc="sum")
    parts = rows[~rows["kind"].isin((WHOLE, INSTRUMENTED))]
    calls = parts.groupby("pass_index")["count"].sum().astype("float64")
    return max(0.0, float(((totals[INSTRUMENTED] - totals[WHOLE]) / calls).median()))


def _log_alone(logs: Mapping[str, Array], problems: Sequence[str], less_s: Array) -> Array:
    """Return the logarithms of the seconds of layers, (layers, passes), the first one's reduced."""
    found = np.stack([logs[problem] for problem in problems])
    with np.errstate(invalid="ignore"):
        found[0] = np.log(np.exp(found[0]) - less_s)
    return found


def _isolated(run: Run, network: str) -> dict[str, Array]:
    """Return by problem the logarithms of the seconds of its layer alone, one per pass."""
    cases = run.cases[run.cases["network"].eq(network).fillna(False)]
    cases = cases[(cases["backend"] == BASELINE) & (cases["status"] == "ok")]
    cases = cases.drop_duplicates("problem")
    return dict(zip(cases["problem"], run.log_s(cases), strict=True))


def _others(run: Run, rows: DataFrame) -> dict[str, Sum]:
    """Return the time of every other kind of call, and end to end."""
    seconds = _by_pass(rows[rows["kind"] != CONVOLUTION], "kind", run)
    logs = np.log(seconds.to_numpy(dtype="float64"))
    return {
        str(kind): Sum(interval(estimate(own)), own)
        for kind, own in zip(seconds.index, logs, strict=True)
    }


def _by_pass(rows: DataFrame, by: str, run: Run) -> DataFrame:
    """Return the seconds of one pass or step, one column per pass of the run; NaN if missing."""
    table = rows.pivot_table(index=by, columns="pass_index", values="total_s", aggfunc="sum")
    return table.reindex(columns=run.pass_times.columns)
