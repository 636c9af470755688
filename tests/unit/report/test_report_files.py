"""Files of a report: replaced whole, named in any bytes, refused by name."""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.report.build import write_report
from convsweep.report.pages import Page, write_pages
from tests.support import synthetic_runs as made

pytestmark = pytest.mark.usefixtures("unexplored")


def test_a_newer_report_replaces_an_older_one_and_its_figures(tmp_path):
    first = made.write(tmp_path / "run", made.rows(made.grid((4, 16), (7, 14), (3,)), passes=2))
    write_report(first, tmp_path / "out")
    other = made.write(tmp_path / "other", made.rows(made.grid((4, 16), (14,), (3,))))
    write_report(other, tmp_path / "out")
    names = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert "time_by_size" not in names
    assert "time_by_channels" in names


def test_a_name_of_any_length_and_bytes_can_stand_in_a_report_with_figures(tmp_path):
    rows = [replace(row, workload="w" * 300, layer="l" * 300) for row in made.network()]
    run_dir = made.write(tmp_path / os.fsdecode(b"run\xff"), rows, made.ENVIRONMENT)
    page = write_report(run_dir, tmp_path / "out")
    assert any(path.name.startswith("layers_of_www") for path in page.parent.rglob("*.png"))


def test_pages_that_cannot_be_written_leave_the_older_ones(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    older = write_pages(tmp_path / "out", Page("older")).read_text(encoding="utf-8")
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_text", full)
        with pytest.raises(ValueError, match="No space left"):
            write_pages(tmp_path / "out", Page("newer"))
    assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8") == older
    newer = write_pages(tmp_path / "out", Page("newer")).read_text(encoding="utf-8")
    assert newer == older.replace("older", "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_run_is_refused_and_nothing_written(tmp_path):
    (tmp_path / "empty").mkdir()
    for run_dir in (tmp_path / "absent", tmp_path / "empty"):
        with pytest.raises(ValueError, match="is not a run") as refusal:
            write_report(run_dir, tmp_path / "out")
        assert "\n" not in str(refusal.value)
    made.write(tmp_path / "rowless", [])
    with pytest.raises(ValueError, match="no measurements"):
        write_report(tmp_path / "rowless", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("out", ["file", "file/below", "blocked"])
def test_an_out_that_cannot_be_written_is_refused_by_name(tmp_path, out):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "figures").write_text("kept")
    run_dir = made.write(tmp_path / "run", made.rows(made.grid((4, 16), (7, 14), (3,)), passes=2))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / out))) as refusal:
        write_report(run_dir, tmp_path / out)
    assert "\n" not in str(refusal.value)
    assert (tmp_path / "file").read_text() == "kept"
