"""Sweeps on a Ray cluster: `run`, `noise` and `list devices` with --ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convsweep.cli import output
from convsweep.cli.sweep_command import print_results, run_folder, sweep_with_progress

if TYPE_CHECKING:
    from convsweep.cluster.pool import Node
    from convsweep.sweep.request import Request
    from convsweep.sweep.session import SweepResult


def is_requested(ray: str | None, nodes: str | None) -> bool:
    """Return whether --ray is given; --nodes without --ray is an error."""
    if nodes is not None and ray is None:
        raise click.ClickException(f"--nodes {nodes!r} selects cluster nodes and needs --ray")
    return ray is not None


def run(
    address: str,
    label: str | None,
    chosen: Mapping[str, Any],
    out: Path | None,
    resume: bool,
    dry_run: bool,
) -> int:
    """Run a sweep on a cluster; return the exit code."""
    ended = _sweep(address, label, chosen, out, resume, dry_run=dry_run)
    if ended is None:
        return 0
    with output.resumable(ended.folder.path):
        return _end(ended, print_results(ended))


def noise(
    address: str, label: str | None, chosen: Mapping[str, Any], out: Path | None, resume: bool
) -> int:
    """Run the A/A test on a cluster, one result per environment; return the exit code."""
    from convsweep.analysis.aa_noise import measure_noise
    from convsweep.report.noise import sentences
    from convsweep.sweep.request import aa_request

    ended = _sweep(address, label, chosen, out, resume, finish=aa_request)
    assert ended is not None, "only a dry run has no ending"
    if ended.end_reason == "interrupted":
        return output.interrupted(ended.folder.path)
    for environment_id, rows in ended.folder.measurements.groupby("environment_id", sort=False):
        with output.one_line_errors():
            found = measure_noise(rows)
        lines = (f"  {sentence}" for sentence in sentences(found, []))
        output.say(f"On the nodes of environment {environment_id}:", *lines)
    output.say(f"Results: {ended.folder.path}")
    return _end(ended, 0)


def devices(
    address: str, label: str | None, what: str
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the heads and rows of a table of the cluster's nodes."""
    from convsweep.cluster.address import parse_address
    from convsweep.cluster.connection import connected
    from convsweep.cluster.node_groups import describe_nodes, fitting_nodes
    from convsweep.measure.settings import Settings

    if what != "devices":
        raise ValueError(f"list {what} --ray {address!r}: only devices can be listed on a cluster")
    with connected(parse_address(address), 1, _print_waiting) as pool:
        nodes = pool.nodes()
        fitting = fitting_nodes(nodes, label)
        described = describe_nodes(pool, fitting, None, Settings(), _print_waiting)
    rows: list[tuple[str, ...]] = [
        (node.name, _labels(node), ", ".join(info.devices), str(info.cores), info.cpu, info.id)
        for node, info in described
    ]
    without = [node for node in nodes if not node.slots] if label is None else []
    rows += [(node.name, _labels(node), "no slot to measure in", "", "", "") for node in without]
    return ("node", "labels", "devices", "cores", "processor", "environment"), rows


def _labels(node: Node) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(node.labels.items()))


def _sweep(
    address: str,
    label: str | None,
    chosen: Mapping[str, Any],
    out: Path | None,
    resume: bool,
    *,
    dry_run: bool = False,
    finish: Callable[[Request], Request] = lambda request: request,
) -> SweepResult | None:
    """Run the request on each node group; return how it ended, or None for a dry run.

    Errors that this process can detect end the command before a cluster is started.
    """
    from convsweep.cli.plan import plan
    from convsweep.cluster.address import parse_address, parse_label
    from convsweep.cluster.connection import connected
    from convsweep.cluster.executor import RayExecutor
    from convsweep.cluster.node_groups import describe_nodes, fitting_nodes, group_nodes
    from convsweep.sweep.effort import require_time, worker_settings
    from convsweep.sweep.request import Options, read_request
    from convsweep.sweep.resume import require_resumable

    options = Options(**chosen)
    with ExitStack() as stack:
        with output.one_line_errors():
            where = parse_address(address)
            if label is not None:
                parse_label(label)
            request = finish(read_request(replace(options, devices=(), threads=())))
            settings = replace(worker_settings(request), threads=min(options.threads, default=1))
            out = run_folder(out, resume, request.name)
            if not resume:
                require_time(request)
            pool = stack.enter_context(
                connected(where, max(options.threads, default=1), _print_waiting)
            )
            nodes, names = fitting_nodes(pool.nodes(), label), options.devices or ("cpu",)
            described = describe_nodes(pool, nodes, names, settings, _print_waiting)
            groups = group_nodes(described, options, finish)
            if resume:
                machines = [group.environment for group in groups]
                require_resumable(out, machines, output.command_line())
        for group in groups:
            lacks = f"; not installed there: {', '.join(group.missing)}" if group.missing else ""
            planned = plan(group.environment.request, len(group.nodes))
            output.say(f"On {group.name}: {planned}{lacks}")
        if dry_run:
            return None
        return sweep_with_progress(RayExecutor(groups, pool), out, resume)


def _print_waiting(awaited: str) -> None:
    output.say(f"convsweep: waiting for {awaited}", error=True)


def _end(ended: SweepResult, failed: int) -> int:
    """Print how to resume; return the exit code."""
    from convsweep.sweep.session import NODES_LOST

    if ended.end_reason == NODES_LOST:
        lost = "the last node of a group is lost; repeat the command with --resume to continue"
        output.say(f"convsweep: {lost}", error=True)
        return 1
    is_interrupted = ended.end_reason == "interrupted"
    return output.interrupted(ended.folder.path) if is_interrupted else failed
