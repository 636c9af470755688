"""How a request that is wrong, or can't be written, ends a command: one line, exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def requested() -> Iterator[None]:
    """Whatever is wrong with a request, or with a file that it names, ends the command."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def written(out: Path) -> Iterator[None]:
    """A run that is refused, or can't be written on, ends the command; what is written is whole."""
    try:
        yield
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"can't go on writing {str(out)!r}: {error.strerror}") from None
