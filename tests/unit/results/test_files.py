"""Files and folders that are written whole or not at all, and never through a link."""

import errno
import os
from pathlib import Path

import pytest

from convsweep.results.files import complete_or_absent, replace_file

CONTENT = {"figures/one.png": "picture", "report.html": "page"}


def write(out: Path, content: dict[str, str] = CONTENT) -> None:
    with complete_or_absent(out) as folder:
        for name, text in content.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)


def fail(out: Path, failure: BaseException) -> None:
    with complete_or_absent(out) as folder:
        (folder / "report.html").write_text("half")
        raise failure


def texts(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.mark.parametrize("before", [None, {}, {"report.html": "older", "figures/mine.png": "mine"}])
@pytest.mark.parametrize("mounted", [False, True])
def test_a_folder_has_all_new_files_or_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: dict[str, str] | None, mounted: bool
) -> None:
    out = tmp_path / "below" / "out"
    for name, text in (before or {}).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    if before == {}:
        out.mkdir(parents=True)
    monkeypatch.setattr(os.path, "ismount", lambda path: mounted)
    found = sorted(tmp_path.rglob("*"))
    for failure in (OSError(errno.ENOSPC, "full"), KeyboardInterrupt()):
        with pytest.raises(type(failure)):
            fail(out, failure)
        assert sorted(tmp_path.rglob("*")) == found
        assert texts(out) == (before or {})
    write(out)
    assert texts(out) == {**(before or {}), **CONTENT}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_folder_of_the_longest_name_can_be_written(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xff" * 255)
    write(out)
    assert texts(out) == CONTENT


@pytest.mark.parametrize("linked", ["report.html", "figures", "figures/one.png"])
def test_what_a_link_points_to_is_not_changed(tmp_path: Path, linked: str) -> None:
    theirs, out = tmp_path / "theirs", tmp_path / "out"
    write(theirs, dict.fromkeys(CONTENT, "theirs"))
    write(out)
    if linked == "figures":
        (out / "figures" / "one.png").unlink()
        (out / "figures").rmdir()
    else:
        (out / linked).unlink()
    (out / linked).symlink_to(theirs / linked)
    write(out)
    assert texts(theirs) == dict.fromkeys(CONTENT, "theirs")
    assert texts(out) == CONTENT
    assert not (out / linked).is_symlink()


def test_a_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    for name in ("file", "file.part"):
        (tmp_path / name).symlink_to(theirs)
    replace_file(tmp_path / "file", "mine")
    assert (tmp_path / "file").read_text() == "mine"
    assert theirs.read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "theirs"]


def test_text_that_cannot_be_encoded_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("older")
    with pytest.raises(UnicodeEncodeError):
        replace_file(tmp_path / "file", "\udcff")
    assert texts(tmp_path) == {"file": "older"}
