"""Ctrl-C while a run's results are written or printed."""

from pathlib import Path

import pytest

from convsweep.system import forkserver
from tests.support.typed_commands import typing_into


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("moment", ["sweep.session.run_sweep", "cli.run.print_results"])
def test_an_interrupt_names_the_folder_of_the_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    moment: str,
    exists: bool,
) -> None:
    def interrupting(*_: object, **more: object) -> None:
        if exists:
            (tmp_path / "new run").mkdir()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(forkserver, "start", lambda: None)
    monkeypatch.setattr("convsweep.sweep.session.run_sweep", lambda *_, **more: None)
    monkeypatch.setattr(f"convsweep.{moment}", interrupting)
    result = typing_into(capsys, monkeypatch)("run", "--grid", "smoke", "--out", "new run")
    assert result.code == 130
    assert ("--out 'new run' --resume" in result.err) == exists
