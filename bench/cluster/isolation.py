"""A network and a table of processes of one's own: Ray listens on the host's address otherwise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

_INSIDE = "CONVSWEEP_ALONE"
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_LOOPBACK_UP = 'ip link set lo up && exec "$@"'


def isolated(command: Sequence[str]) -> list[str]:
    """The command, in a namespace that has loopback alone; what it leaves behind dies with it."""
    return [*_UNSHARE, "sh", "-c", _LOOPBACK_UP, "sh", *command]


def missing_isolation() -> str | None:
    """Why there can be no such namespace, in words, or None."""
    missing = [name for name in ("unshare", "ip") if shutil.which(name) is None]
    if missing:
        return f"there is no {' and no '.join(missing)}"
    done = subprocess.run(isolated(["true"]), capture_output=True, text=True)
    return f"no namespace: {done.stderr.strip()}" if done.returncode else None


def run_isolated(module: str) -> None:
    """Run this program again in a namespace of its own, unless it is in one already."""
    if os.environ.get(_INSIDE):
        return
    if reason := missing_isolation():
        sys.exit(f"Ray would listen beyond this machine: {reason}")
    os.environ[_INSIDE] = "1"
    command = isolated([sys.executable, "-m", module, *sys.argv[1:]])
    os.execvp(command[0], command)
