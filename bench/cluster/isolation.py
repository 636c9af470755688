"""Isolated network and process namespace, since Ray listens on the host's address."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

_ISOLATED = "CONVSWEEP_ISOLATED"
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_LOOPBACK_UP = 'ip link set lo up && exec "$@"'


def isolated(command: Sequence[str]) -> list[str]:
    """Return the command in a namespace with loopback only; its processes end with it."""
    return [*_UNSHARE, "sh", "-c", _LOOPBACK_UP, "sh", *command]


def missing_isolation() -> str | None:
    """Return the reason why no namespace can be created, or None."""
    missing = [name for name in ("unshare", "ip") if shutil.which(name) is None]
    if missing:
        return f"missing programs: {', '.join(missing)}"
    done = subprocess.run(isolated(["true"]), capture_output=True, text=True)
    return f"unshare failed: {done.stderr.strip()}" if done.returncode else None


def run_isolated(module: str) -> None:
    """Restart this program in a new namespace, unless it runs in one."""
    if os.environ.get(_ISOLATED):
        return
    if reason := missing_isolation():
        sys.exit(f"can't isolate Ray from the network: {reason}")
    os.environ[_ISOLATED] = "1"
    command = isolated([sys.executable, "-m", module, *sys.argv[1:]])
    os.execvp(command[0], command)
