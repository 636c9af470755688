"""Fixtures of the tests of `compare`."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from convsweep import cli
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made
from tests.support.compared_runs import Output, Write


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def write(name: str, rows: Iterable[Row], **keys: object) -> Path:
        environment = None if keys == {"bare": True} else made.ENVIRONMENT | keys
        return made.write(Path(name), rows, environment)

    return write


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def type_(words: str) -> Output:
        monkeypatch.setattr(sys, "argv", ["convsweep", *shlex.split(words)])
        with pytest.raises(SystemExit) as ended:
            cli.main(shlex.split(words))
        return Output(int(ended.value.code or 0), *capsys.readouterr())

    return type_
