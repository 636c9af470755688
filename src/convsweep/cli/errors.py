"""Conversion of expected exceptions into one line on stderr and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click


@contextmanager
def one_line_errors(out: Path | None = None) -> Iterator[None]:
    """End the command if a request or a file is invalid, or if `out` cannot be written."""
    try:
        yield
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        text = str(error) if out is None else f"cannot write {str(out)!r}: {error.strerror}"
        raise click.ClickException(text) from None
