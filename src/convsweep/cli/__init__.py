"""Command line; the only package that prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from convsweep import __version__
from convsweep.cli import accuracy, advise, info, merge, optimize, report, run
from convsweep.cli.output import say
from convsweep.system.signals import EXIT_CODE

_INVALID_REQUEST = 2


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command; an invalid request is one line on stderr and exit code 2."""
    if sys.stdout is None:  # closed by the calling process
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        sys.exit(cli(args, standalone_mode=False))
    except (click.Abort, KeyboardInterrupt):
        say("convsweep: interrupted", error=True)
        sys.exit(EXIT_CODE)
    except click.ClickException as error:
        say(f"convsweep: {' '.join(error.format_message().split())}", error=True)
        sys.exit(_INVALID_REQUEST)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="convsweep")
def cli() -> None:
    """Compare convolution strategies on this machine: which is faster, and how certain is it?"""


for command in (
    *(run.run, run.check, run.noise, advise.advise, optimize.optimize, accuracy.accuracy),
    *(report.report, report.compare, report.best, merge.merge, report.export),
    *(info.list_, info.env),
):
    cli.add_command(command)
