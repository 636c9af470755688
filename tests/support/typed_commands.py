"""Commands as a user types them, run in the test's process."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from convsweep import cli


class Said(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Said]


def typing_into(
    captured: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *first: str
) -> Command:
    """Return a function that types a command, which begins with the `first` words."""

    def type_(*words: str | Path) -> Said:
        typed = [*first, *map(str, words)]
        monkeypatch.setattr(sys, "argv", ["convsweep", *typed])
        with pytest.raises(SystemExit) as ended:
            cli.main(typed)
        return Said(int(ended.value.code or 0), *captured.readouterr())

    return type_
