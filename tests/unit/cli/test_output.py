"""Text that several commands print."""

import shlex
from pathlib import Path

import pytest

from convsweep.cli import output


@pytest.mark.parametrize("name", ["-dash", "--help", "a b", "plain"])
def test_the_advised_command_has_the_folder_as_an_argument(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.print_paths(Path(name))
    *_, argument = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert not argument.startswith("-")
    assert Path(argument) == Path(name)
