"""The commands that show what there is: list, env."""

from __future__ import annotations

import sys

import click

from convsweep.cli import ray as cluster
from convsweep.cli.errors import requested
from convsweep.cli.ray import cluster_options


@click.command("list")
@click.argument("what", metavar="backends | grids | workloads | devices")
@cluster_options
def list_(what: str, ray: str | None, nodes: str | None) -> int:
    """Show which backends, grids, workloads or devices there are, here or on a cluster."""
    from rich.console import Console

    from convsweep.cli import listing as catalogue
    from convsweep.cli import terminal

    with requested():
        if cluster.is_asked_for(ray, nodes):
            columns, rows = cluster.devices(str(ray), nodes, what)
        else:
            columns, rows = catalogue.entries(what)
    Console(width=None if sys.stdout.isatty() else 120).print(terminal.listing(columns, rows))
    return 0


@click.command()
def env() -> int:
    """Show what this machine is, and what makes its timings shaky."""
    from convsweep.system.devices import device_names, find_device
    from convsweep.system.environment import describe

    found = describe({name: find_device(name).description for name in device_names()})
    for part in ("machine", "versions", "devices"):
        print(part)
        for name, value in found[part].items():
            print(f"  {name}: {'not known' if value is None else value}")
    print("what makes timings shaky here")
    for warning in found["warnings"] or ["nothing that can be seen"]:
        print(f"  {warning}")
    return 0
