"""The options that say which cases to measure, and on what; several commands share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def path(text: str) -> Path:
    """The file or folder that a word names."""
    if not text:
        raise click.BadParameter("an empty word names no file or folder")
    return Path(text)


def sweep_options(command: _Command) -> _Command:
    """A command that takes them all."""
    for option in reversed(
        [
            click.option("--grid", metavar="NAME", help="A named grid: convsweep list grids."),
            click.option(
                "--workload",
                "workloads",
                metavar="NAME",
                multiple=True,
                help="A network's layers: convsweep list workloads.",
            ),
            click.option(
                "--problems",
                metavar="FILE.csv",
                type=path,
                help="Problems from a CSV with the workload files' columns.",
            ),
            click.option(
                "--axis",
                "axes",
                metavar="NAME=VALUES",
                multiple=True,
                help="Such as in_channels=16:512:*2, size=8:64:+8, kernel_size=1,3.",
            ),
            click.option(
                "--backend",
                "backends",
                metavar="NAME",
                multiple=True,
                help="A backend, or a family of them: algorithms, kernels, engines, all "
                "(convsweep list backends).",
            ),
            click.option(
                "--device",
                "devices",
                metavar="NAME",
                multiple=True,
                help="cpu (the default), cuda, vulkan: convsweep list devices.",
            ),
            click.option(
                "--dtype",
                "dtypes",
                metavar="NAME",
                multiple=True,
                help="float32 (the default), float64, float16 or bfloat16.",
            ),
            click.option(
                "--memory-format",
                "memory_formats",
                metavar="NAME",
                multiple=True,
                help="contiguous (the default) or channels_last.",
            ),
            click.option(
                "--threads",
                metavar="N",
                type=int,
                multiple=True,
                help="Threads of torch's pool; 1 by default.",
            ),
            click.option(
                "--cache",
                "caches",
                metavar="KIND",
                multiple=True,
                help="hot (the default): calls find their input in the caches; or cold: caches are "
                "flushed before each.",
            ),
            click.option(
                "--allocator",
                metavar="KIND",
                default="retain",
                help="steady (the default): freed memory stays in the process; system: as the "
                "system's library has it, where large outputs page-fault at every call.",
            ),
            click.option(
                "--weight-kind",
                metavar="KIND",
                default="separable",
                help="separable (the default): weights that factor where the problem allows, so "
                "that the separable layer computes the same function; or dense.",
            ),
            click.option(
                "--case-timeout",
                metavar="TIME",
                help="The longest that one case may take in a pass, such as 10s or 500ms.",
            ),
        ]
    ):
        command = option(command)
    return command
