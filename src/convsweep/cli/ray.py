"""Measuring on a Ray cluster: what `run` and `noise` do where `--ray` names one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from convsweep.cli.common import folder, interrupted, plan, tell
from convsweep.cli.errors import requested, written

if TYPE_CHECKING:
    from convsweep.cli.listing import Entries
    from convsweep.cluster.node_groups import NodeGroup
    from convsweep.cluster.pool import Node, Pool
    from convsweep.cluster.session import Ended
    from convsweep.measure.worker import Settings
    from convsweep.sweep.request import Options, Request

_Command = TypeVar("_Command", bound=Callable[..., Any])


def cluster_options(command: _Command) -> _Command:
    """A command that takes a cluster."""
    nodes = click.option(
        "--nodes", metavar="LABEL", help="Of a cluster the nodes with this label, KEY=VALUE."
    )
    ray = click.option(
        "--ray",
        metavar="ADDRESS",
        help="Measure on a Ray cluster: auto, local, local:N (nodes), or HOST:PORT.",
    )
    return ray(nodes(command))


def is_asked_for(ray: str | None, nodes: str | None) -> bool:
    """Whether `--ray` names a cluster; `--nodes` alone ends the command."""
    if nodes is not None and ray is None:
        raise click.ClickException(f"--nodes {nodes!r} chooses among a cluster's; it needs --ray")
    return ray is not None


def run(
    address: str,
    label: str | None,
    words: Mapping[str, Any],
    *,
    out: Path | None,
    resume: bool,
    dry_run: bool,
) -> int:
    """What `run` does on a cluster."""
    from convsweep.sweep.request import Options

    where, ended = _sweep(address, label, Options(**words), out, resume, dry_run=dry_run)
    return 0 if ended is None else _end(ended, tell(where))


def noise(
    address: str, label: str | None, words: Mapping[str, Any], *, out: Path | None, resume: bool
) -> int:
    """What `noise` does on a cluster: each kind of hardware has an answer of its own."""
    from convsweep.analysis.aa_noise import measure_noise
    from convsweep.report.noise import sentences
    from convsweep.results.store import load
    from convsweep.sweep.request import Options, aa_request

    where, ended = _sweep(address, label, Options(**words), out, resume, finish=aa_request)
    assert ended is not None, "a run that is no dry one ends"
    if ended.word == "interrupted":
        return interrupted()
    for environment_id, own in load(where).groupby("environment_id", sort=False):
        with requested():
            found = measure_noise(own)
        print(f"On the nodes of environment {environment_id}:")
        for sentence in sentences(found, []):
            print(f"  {sentence}")
    print(f"Results: {where}")
    return _end(ended, 0)


def devices(address: str, label: str | None, what: str) -> Entries:
    """What each of a cluster's nodes has, as rows of text."""
    from convsweep.cluster.address import parse_address
    from convsweep.cluster.connection import connected
    from convsweep.cluster.node_groups import describe_nodes, fitting_nodes
    from convsweep.measure.worker import Settings

    if what != "devices":
        raise ValueError(f"--ray {address!r} has devices to list, and no {what} of its own")
    with connected(parse_address(address), 1) as pool:
        every = pool.nodes()
        able = fitting_nodes(every, label)
        said = describe_nodes(pool, able, None, Settings(), _tell_waiting)
    rows: list[tuple[str, ...]] = [
        (node.name, _labels(node), ", ".join(found.devices), str(found.cores), found.cpu, found.id)
        for node, found in said
    ]
    without = [node for node in every if not node.slots] if label is None else []
    rows += [(node.name, _labels(node), "no slot to measure in", "", "", "") for node in without]
    return ("node", "labels", "devices", "cores", "processor", "environment"), rows


def _labels(node: Node) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(node.labels.items()))


def _sweep(
    address: str,
    label: str | None,
    options: Options,
    out: Path | None,
    resume: bool,
    *,
    dry_run: bool = False,
    finish: Callable[[Request], Request] = lambda request: request,
) -> tuple[Path, Ended | None]:
    """Measure on every kind of hardware of a cluster; where to, and how it has ended.

    What is wrong ends the command; what this process can see of that before anything is started.
    """
    from convsweep.cluster.address import parse_address, parse_label
    from convsweep.cluster.connection import connected
    from convsweep.sweep.effort import measuring
    from convsweep.sweep.request import read_request

    with ExitStack() as stack:
        with requested():
            where = parse_address(address)
            if label is not None:
                parse_label(label)
            rough = finish(read_request(replace(options, devices=(), threads=())))
            settings = replace(measuring(rough), memory_limit_bytes=None)
            settings = replace(settings, threads=min(options.threads, default=1))
            out = folder(out, resume, rough.name)
            pool = stack.enter_context(connected(where, max(options.threads, default=1)))
            kinds = _kinds(pool, label, options, settings, finish)
        for kind in kinds:
            print(_plan(kind), flush=True)
        if dry_run:
            return out, None
        return out, _carry_out(kinds, pool, out, resume)


def _kinds(
    pool: Pool,
    label: str | None,
    options: Options,
    settings: Settings,
    finish: Callable[[Request], Request],
) -> list[NodeGroup]:
    from convsweep.cluster.node_groups import describe_nodes, fitting_nodes, group_nodes

    nodes = fitting_nodes(pool.nodes(), label)
    devices = options.devices or ("cpu",)
    return group_nodes(
        describe_nodes(pool, nodes, devices, settings, _tell_waiting), options, finish
    )


def _tell_waiting(names: str) -> None:
    print(
        f"convsweep: waiting for {names}, which begin or are at work for others",
        file=sys.stderr,
        flush=True,
    )


def _plan(kind: NodeGroup) -> str:
    """What a kind of hardware will do, in a line."""
    lacking = f"; not installed there: {', '.join(kind.lacking)}" if kind.lacking else ""
    return f"On {kind.name}: {plan(kind.request, len(kind.nodes))}{lacking}"


def _carry_out(kinds: Sequence[NodeGroup], pool: Pool, out: Path, resume: bool) -> Ended:
    from rich.console import Console

    from convsweep.cli import terminal
    from convsweep.cluster import session

    command = shlex.join(["convsweep", *sys.argv[1:]])
    with written(out), terminal.progress(Console(stderr=True)) as observe:
        return session.run_on_cluster(
            kinds, pool, out, out.resolve().name, command, observe, resume=resume
        )


def _end(ended: Ended, failed: int) -> int:
    """Say what a sweep on a cluster leaves open; the exit code."""
    from convsweep.cli import terminal
    from convsweep.cluster.work_queue import NODES_LOST

    for ending in ended.of_kinds:
        if ending.open_comparisons:
            print(terminal.unsettled(ending.open_comparisons))
    if ended.word == NODES_LOST:
        print(
            "convsweep: the last node of its kind is gone; the same command with --resume goes on",
            file=sys.stderr,
        )
        return 1
    return interrupted() if ended.word == "interrupted" else failed
