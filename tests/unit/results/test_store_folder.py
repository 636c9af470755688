import errno
import json
from pathlib import Path

import pandas as pd
import pytest

from convsweep.results import store
from convsweep.results.lock import LOCK
from convsweep.results.store import ENVIRONMENT, MEASUREMENTS, SUMMARY, require_new, require_run
from tests.support.row_factory import ROW, write


def test_a_new_or_empty_folder_may_hold_a_run(tmp_path: Path) -> None:
    require_new(tmp_path)
    require_new(tmp_path / "new")
    require_new(tmp_path / "new" / "and" / "deeper")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [MEASUREMENTS, "anything", ".hidden"])
def test_a_folder_with_anything_in_it_is_refused_and_left_as_it_was(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=r"^[^\n]+ may hold another run$") as refused:
        require_new(tmp_path)
    assert repr(str(tmp_path)) in str(refused.value)
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_no_run_is_written_over_or_below_a_file(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    run_dir = tmp_path / "file" / below
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        require_new(run_dir)
    assert repr(str(run_dir)) in str(refused.value)
    assert (tmp_path / "file").read_text() == "mine"


def forbid_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def temporary_file(dir: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", dir)

    monkeypatch.setattr(store, "TemporaryFile", temporary_file)


def test_a_folder_without_permission_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_files(monkeypatch)
    for run_dir in (tmp_path, tmp_path / "new"):
        with pytest.raises(ValueError, match=r"^[^\n]+can't be written[^\n]+$") as refused:
            require_new(run_dir)
        assert repr(str(run_dir)) in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [LOCK, ENVIRONMENT + ".part"])
def test_what_a_run_leaves_that_never_began_is_no_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("123")
    require_new(tmp_path)
    with pytest.raises(ValueError, match=r"is not a run to be resumed: it has no environment.json"):
        require_run(tmp_path)


def test_a_folder_with_an_environment_is_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    store.write_environment(tmp_path, {"cpu": "any"})
    require_run(tmp_path)
    write(tmp_path, [ROW])
    require_run(tmp_path)


@pytest.mark.parametrize("name", ["none", "file", "empty", "rows", "words"])
def test_no_other_folder_can_be_resumed(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    write(tmp_path / "rows", [ROW])
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / ENVIRONMENT).write_text("words")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        require_run(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_may_not_be_written_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_environment(tmp_path, {"cpu": "any"})
    forbid_files(monkeypatch)
    with pytest.raises(ValueError, match=r"^[^\n]+can't be written[^\n]+$"):
        require_run(tmp_path)


def test_a_link_to_nothing_is_refused_by_name(tmp_path: Path) -> None:
    run_dir = tmp_path / "link"
    run_dir.symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        require_new(run_dir)
    assert repr(str(run_dir)) in str(refused.value)


WRITERS = {
    SUMMARY: lambda run_dir, word: store.write_table(run_dir / SUMMARY, pd.DataFrame([word])),
    ENVIRONMENT: lambda run_dir, word: store.write_environment(run_dir, {"cpu": word}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_written_over_in_one_step(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path, "old")
    WRITERS[name](tmp_path, "new")
    assert "new" in (tmp_path / name).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("moment", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, moment: str, error: BaseException
) -> None:
    WRITERS[name](tmp_path, "old")
    before = (tmp_path / name).read_bytes()

    def interrupted(*_: object) -> None:
        raise error

    monkeypatch.setattr(moment, interrupted)
    with pytest.raises(type(error)):
        WRITERS[name](tmp_path, "new and longer")
    assert (tmp_path / name).read_bytes() == before


def test_an_environment_is_read_back_and_may_be_missing(tmp_path: Path) -> None:
    assert store.read_environment(tmp_path) == {}
    environment = {"cpu": "β <b>", "cores": 2, "warnings": [], "commit": None, "os": {"x": 1.5}}
    store.write_environment(tmp_path, environment)
    assert store.read_environment(tmp_path) == environment


def test_a_baseline_that_was_not_measured_is_refused(tmp_path: Path) -> None:
    environment = {"baseline": "[/]", "request": {"backends": ["torch_conv", "im2col"]}}
    store.write_environment(tmp_path, environment)
    with pytest.raises(ValueError, match=r"its baseline '\[/\]' is none of its backends"):
        store.read_environment(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"\xff\xfe\0", b"{}\n{}", b"[" * 100_000], ids=len
)
def test_what_is_no_environment_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ENVIRONMENT).write_bytes(content)
    with pytest.raises(ValueError, match=r"is not an environment file") as refused:
        store.read_environment(tmp_path)
    assert str(refused.value).isprintable()
    assert ENVIRONMENT in str(refused.value)


@pytest.mark.parametrize("kind", ["folder", "huge"])
def test_an_environment_that_can_not_be_one_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ENVIRONMENT
    if kind == "folder":
        path.mkdir()
    else:
        path.write_text(json.dumps({"cpu": "x" * store.LARGEST_ENVIRONMENT}))
    with pytest.raises(ValueError, match=r"is not an environment file: [^\n]+$"):
        store.read_environment(tmp_path)
