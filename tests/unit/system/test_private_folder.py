"""Folder that code is loaded from: no other user can write to it, whatever they made before."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from convsweep.system.private_folder import private_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders have access lists there")
OTHER_USER = 54321
VARIABLES = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "TMPDIR")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that can't hold a folder, and a temporary folder as other users know it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    return shared


def guessed(places: Path) -> Path:
    return places / f"convsweep-{os.getuid()}"


def require_private(folder: Path) -> None:
    found = folder.lstat()
    assert stat.S_ISDIR(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o700
    assert found.st_uid == os.geteuid()


def test_it_is_kept_between_runs_and_has_no_place_for_others(places: Path) -> None:
    before = os.umask(0)
    try:
        folder = private_folder()
    finally:
        os.umask(before)
    require_private(folder)
    assert folder.is_relative_to(guessed(places))
    assert private_folder() == folder


def test_the_first_choice_of_the_user_counts(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.setenv(name, str(places / name))
        assert private_folder().is_relative_to(places / name)
    require_private(private_folder())


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_could_write_to_is_not_used(places: Path, mode: int) -> None:
    folder = private_folder()
    (folder / "planted").touch()
    folder.chmod(mode)
    assert not (private_folder() / "planted").exists()
    require_private(private_folder())


@pytest.mark.parametrize("name", ["", "convsweep"])
def test_a_link_is_not_followed_to_what_others_made(
    places: Path, tmp_path: Path, name: str
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    link = guessed(places) / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(theirs)
    require_private(private_folder())
    assert not private_folder().is_relative_to(theirs)


def test_a_shared_cache_folder_is_not_used(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = places / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)  # others can replace what is in it
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_to_all))
    assert not private_folder().is_relative_to(open_to_all)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root makes them")
@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_of_another_user_is_not_used(places: Path, depth: int) -> None:
    folder = private_folder()
    (folder / "planted").touch()
    theirs = [folder, *folder.parents][depth]
    os.chown(theirs, OTHER_USER, OTHER_USER)
    assert not (private_folder() / "planted").exists()
    require_private(private_folder())


def test_a_fresh_folder_is_shared_with_started_processes_and_removed(places: Path) -> None:
    guessed(places).touch()
    name = "from convsweep.system.private_folder import private_folder; print(private_folder())"
    both = f"import subprocess, sys; {name}; subprocess.run([sys.executable, '-c', {name!r}])"
    found = subprocess.run(
        [sys.executable, "-uc", both],
        env={**os.environ, "TMPDIR": str(places)},
        capture_output=True,
        text=True,
        check=True,
    )
    mine, childs = map(Path, found.stdout.split())
    assert mine == childs
    assert mine.is_relative_to(places)
    assert [path.name for path in places.iterdir()] == [guessed(places).name]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid(), reason="needs root")
def test_a_link_of_another_user_is_not_followed(places: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    guessed(places).symlink_to(own)
    os.lchown(guessed(places), OTHER_USER, OTHER_USER)
    require_private(private_folder())
    assert not list(own.iterdir())
