"""Runs that do not belong together are refused in one line, and nothing is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from convsweep.results import samples, store
from tests.support import synthetic_runs as made
from tests.support.row_factory import version_5_text, write_text
from tests.support.synthetic_shards import (
    REQUEST,
    SETTINGS,
    SWEPT,
    dealt,
    put_together,
    shard,
    write,
)


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Why runs are not merged, in one line; then nothing is there but what was before."""

    def why(*run_dirs: Path, out: Path | None = None) -> str:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(ValueError, match=r".") as raised:
            put_together(*run_dirs, out=out or tmp_path / "merged")
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert after == before
        assert not (tmp_path / "merged").exists()
        assert not list(tmp_path.glob(".merged*"))
        assert str(raised.value).isprintable()
        return str(raised.value)

    return why


def another(
    settings_changed: dict[str, object] | None = None, **request: object
) -> dict[str, object]:
    return {
        "request": REQUEST | {"shard": "2/3"} | request,
        "settings": SETTINGS | (settings_changed or {}),
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (another(full_request_hash="ba9876543210"), "of different requests: their cases differ"),
        (another(passes=5), "differ in request.passes: 3 against 5"),
        (another(precision=0.02), "differ in request.precision: None against 0.02"),
        (another(allocator="system"), "differ in request.allocator: 'retain' against 'system'"),
        (another(backends=["torch_conv", "loop"]), "differ in request.backends"),
        (another(shard="2/4"), "is shard 2/4"),
        (another({"block_s": 0.02}), "differ in settings.block_s: 0.01 against 0.02"),
        (another({"niceness": 0}), "differ in settings.niceness: -10 against 0"),
        ({"baseline": "im2col"}, "differ in baseline: 'torch_conv' against 'im2col'"),
        ({"margin": 0.05}, "differ in margin: 0.02 against 0.05"),
        ({"commit": "abc"}, "differ in commit: '26519ed6fe0a' against 'abc'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_runs_that_were_asked_or_measured_otherwise_are_refused(
    refused: Callable[..., str], tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    message = refused(shard(tmp_path, 1), shard(tmp_path, 2, **changes))
    assert told in message
    assert all(repr(str(tmp_path / name)) in message for name in ("s1", "s2"))


def test_cores_may_differ(tmp_path: Path) -> None:
    out = put_together(shard(tmp_path, 1), shard(tmp_path, 2, **another({"cores": [7]})))
    assert "cores" not in store.read_environment(out)["settings"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"end_reason": None}, "cut off"),
        ({"end_reason": "interrupted"}, "interrupted"),
        ({"request": {"name": "quick"}}, "full_request_hash"),
        ({"request": REQUEST | {"shard": "two"}}, "'two'"),
        ({"request": REQUEST | {"name": "noise"}}, "is no sweep"),
        ({"model": {}}, "is no sweep"),
        ({"merged": []}, "merged from"),
        ({"rows": 1000}, "1000"),
        ({"environment_id": "e9"}, "does not describe"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_run_that_is_no_whole_part_is_refused(
    refused: Callable[..., str], tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    message = refused(shard(tmp_path, 1), shard(tmp_path, 2, **changes))
    assert told in message
    assert repr(str(tmp_path / "s2")) in message


def test_a_case_that_two_runs_have_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    other = write(tmp_path / "other", [*dealt(2, 3), SWEPT[0]], shard="2/3")
    message = refused(shard(tmp_path, 1), other)
    assert f"both have {SWEPT[0].backend} on {SWEPT[0].problem} in pass 0" in message
    assert all(repr(str(tmp_path / name)) in message for name in ("s1", "other"))


def test_two_versions_of_a_backend_on_one_machine_are_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    rows = [
        replace(row, backend_version="1.1") if row.backend == "im2col" else row
        for row in dealt(2, 3)
    ]
    message = refused(shard(tmp_path, 1), write(tmp_path / "s2", rows, shard="2/3"))
    assert "differ in the version of im2col: " in message


def test_what_is_no_run_or_an_older_one_is_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    first = shard(tmp_path, 1)
    (tmp_path / "empty").mkdir()
    assert "'nowhere'" in refused(first, Path("nowhere"))
    assert "is not a run" in refused(first, tmp_path / "empty")
    old = write_text(tmp_path / "old", version_5_text())
    assert "version 5" in refused(first, old)
    bare = made.write(tmp_path / "bare", SWEPT)
    assert "has no environment.json" in refused(first, bare)
    assert "two runs or more" in refused(first)
    assert "named twice" in refused(first, tmp_path / "empty" / ".." / "s1")


def test_a_damaged_file_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    first, second = shard(tmp_path, 1), shard(tmp_path, 2)
    path = second / samples.SAMPLES
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert "is not a samples file" in refused(first, second)


def test_a_run_that_is_being_written_is_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    first, second = shard(tmp_path, 1), shard(tmp_path, 2)
    with FileLock(second / ".lock"):
        assert "is being written by another run" in refused(first, second)
    (second / ".lock").touch()  # one that was killed left it
    assert put_together(first, second).is_dir()
