"""Folder for code that is kept between runs: loading a file from it executes the file."""

import os
import stat
import sys
import tempfile
from contextlib import suppress
from multiprocessing.util import get_temp_dir
from pathlib import Path

_NAME, _CHOICE = "convsweep", "NUMBA_CACHE_DIR"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def private_folder() -> Path:
    """Return a folder with mode 700 of this user in the first place that no other user controls.

    If there is none, it is a new one for this process and those that it starts, removed at its end.
    """
    user = getattr(os, "geteuid", int)()
    chosen = (os.environ.get(name) for name in (_CHOICE, "XDG_CACHE_HOME"))
    for parent in filter(None, (*chosen, "~/.cache", f"{tempfile.gettempdir()}/{_NAME}-{user}")):
        with suppress(OSError, RuntimeError):  # the user has no home
            given = Path(parent).expanduser()
            if given.is_symlink() and given.lstat().st_uid not in {user, 0}:
                continue
            folder = given.resolve() / _NAME
            for path in (*reversed(folder.parents), folder):
                if not path.exists():
                    path.mkdir(mode=0o700, exist_ok=True)
            if _is_private(folder, user):
                return folder
    new = os.environ[_CHOICE] = tempfile.mkdtemp(prefix=f"{_NAME}-", dir=get_temp_dir())
    folder = Path(new, _NAME)
    folder.mkdir(mode=0o700)
    return folder


def _is_private(folder: Path, user: int) -> bool:
    """Return whether no other user can change the folder, or replace it or a folder above it."""
    if sys.platform == "win32":  # a user's folders have access lists there
        return os.access(folder, os.W_OK)
    own, trusted = folder.lstat(), {user, 0, Path("/").stat().st_uid}
    if not stat.S_ISDIR(own.st_mode) or own.st_uid != user or own.st_mode & _OTHERS_WRITE:
        return False
    for above in (path.stat() for path in folder.parents):
        shared = above.st_mode & _OTHERS_WRITE and not above.st_mode & stat.S_ISVTX
        if shared or above.st_uid not in trusted:
            return False
    folder.chmod(0o700)
    return os.access(folder, os.W_OK)


def use_for_compilers() -> None:
    """Have TorchInductor and Triton keep their code there too, unless the user chose a folder."""
    for name in ("TORCHINDUCTOR", "TRITON"):
        os.environ.setdefault(f"{name}_CACHE_DIR", str(private_folder() / name.lower()))
