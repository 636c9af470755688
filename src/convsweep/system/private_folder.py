"""Folder for code that is kept between runs: loading a file from it executes the file."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_NAME, _CHOICE = "convsweep", "NUMBA_CACHE_DIR"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder() -> Path:
    """Return a folder with mode 700 of this user in the first place that no other user controls.

    If there is none, it is a new one for this process and those that it starts, removed at its end.
    """
    for parent in _parents():
        with suppress(OSError, RuntimeError):
            folder = parent.resolve() / _NAME
            for path in [*reversed(folder.parents), folder]:
                if not path.exists():
                    with suppress(FileExistsError):  # a parallel process was faster
                        path.mkdir(mode=0o700)
            if _is_private(folder):
                return folder
    new = tempfile.mkdtemp(prefix=f"{_NAME}-")
    atexit.register(_remove, new, os.getpid())
    os.environ[_CHOICE] = new
    Path(new, _NAME).mkdir(mode=0o700)
    return Path(new, _NAME)


def use_for_compilers() -> None:
    """Have TorchInductor and Triton keep their code there too, unless the user chose a folder."""
    folder = private_folder()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))


def _parents() -> Iterator[Path]:
    """Yield the user's choices, the usual place, and one that always exists."""
    for variable in (_CHOICE, "XDG_CACHE_HOME"):
        if value := os.environ.get(variable):
            yield Path(value)
    with suppress(RuntimeError):  # the user has no home
        yield Path.home() / ".cache"
    yield Path(tempfile.gettempdir()) / f"{_NAME}-{getattr(os, 'getuid', str)()}"


def _is_private(folder: Path) -> bool:
    """Return whether no other user can change the folder, or replace it or a folder above it."""
    if sys.platform == "win32":  # a user's folders have access lists there
        return os.access(folder, os.W_OK)
    user, found = os.geteuid(), folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & _OTHERS_WRITE:
        return False
    trusted = {user, 0, Path("/").stat().st_uid}
    for above in (path.stat() for path in folder.parents):
        shared = above.st_mode & _OTHERS_WRITE and not above.st_mode & stat.S_ISVTX
        if shared or above.st_uid not in trusted:
            return False
    folder.chmod(0o700)
    return os.access(folder, os.W_OK)


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a fork
        shutil.rmtree(folder, ignore_errors=True)
