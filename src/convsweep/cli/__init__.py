"""Command line; the only package that prints."""

import atexit
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

import click

from convsweep import __version__
from convsweep.backends.kernels.width import requested_lanes
from convsweep.cli import accuracy, advise, explain, info, optimize, report, run
from convsweep.cli.output import one_line_errors, say
from convsweep.system.signals import EXIT_CODE
from convsweep.system.streams import UNWRITTEN, guard_streams, lost_output

_INVALID_REQUEST = 2


def run_process() -> NoReturn:
    """Run a command, and end this process without freeing its memory.

    With torch that takes a second on a busy machine, beyond a budget.
    """
    try:
        main()
    except SystemExit as end:
        atexit._run_exitfuncs()
        os._exit(int(end.code or 0))


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit; a failure of the request or of the output is one line on stderr.

    Warnings of libraries are shown only if Python's option -W asks for them.
    """
    warnings.simplefilter("ignore", append=True)
    guard_streams()
    code = _exit_code(args)
    lost = lost_output()
    if lost is not None and code < _INVALID_REQUEST:
        code, reason = lost
        if code == UNWRITTEN:
            say(f"convsweep: cannot write to standard output: {reason}", error=True)
    sys.exit(code)


def _exit_code(args: Sequence[str] | None) -> int:
    try:
        return int(cli(args, standalone_mode=False) or 0)
    except (click.Abort, KeyboardInterrupt):
        say("convsweep: interrupted", error=True)
        return EXIT_CODE
    except click.ClickException as error:
        say(f"convsweep: {' '.join(error.format_message().split())}", error=True)
        return _INVALID_REQUEST


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="convsweep")
def cli() -> None:
    """Compare convolution strategies on this machine: which is faster, and how certain is it?"""
    with one_line_errors():
        requested_lanes()


for command in (
    *(run.run, run.check, run.noise, explain.explain, advise.advise, optimize.optimize),
    *(accuracy.accuracy, report.report, report.show, report.compare, report.best, report.merge),
    *(report.export, info.list_, info.env),
):
    cli.add_command(command)
