"""Acceptance run of a device: what works on it, in at most nine minutes, without a network.

    python -m bench.device --device cuda --out results/cuda-acceptance

Runs each part as a command with a time limit, and writes one page about all. The exit code is 1 if
a part failed.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import click

from bench.device.page import LARGEST_BYTES, sentences, write_page
from bench.device.parts import FAILED, acceptance_parts, run_parts
from convsweep import formatting
from convsweep.results.store import require_new
from convsweep.system.devices import device_names, find_device

_PAGE_S = 15.0  # kept for the start and the page


@click.command()
@click.option("--device", metavar="NAME", help="By default the accelerator, or else cpu.")
@click.option("--out", metavar="DIR", type=Path, required=True, help="New folder.")
@click.option("--seconds", metavar="N", type=float, default=540.0, help="Most time of all parts.")
def main(device: str | None, out: Path, seconds: float) -> None:
    """Try a device; write acceptance.html and acceptance.md."""
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the part, too
    try:
        name = device or device_names()[-1]
        description = find_device(name).description
        require_new(out)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    results = []
    for result in run_parts(acceptance_parts(name), out, seconds - _PAGE_S):
        results.append(result)
        click.echo(f"{result.status:8}{result.seconds:6.1f} s  {result.part.name}: {result.detail}")
    used = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    lines = sentences(results, name, description, time.monotonic() - started)
    lines.append(f"Size: {formatting.size_in_bytes(used)}.")
    click.echo("\n".join([*lines, f"Page: {write_page(results, out, lines)}"]))
    raise SystemExit(used > LARGEST_BYTES or any(one.status == FAILED for one in results))


if __name__ == "__main__":
    main()
