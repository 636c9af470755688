"""Commands that measure in processes of their own, and what they leave behind."""

import os
import subprocess
import sys
import time
from typing import Any

COMMAND = [sys.executable, "-m", "convsweep"]
AXES = ["--axis", "in_channels=2,3", "--axis", "size=5"]


def started(*arguments: str, environment: dict[str, str], **more: Any) -> subprocess.Popen[str]:
    """A command whose output is captured, in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        **more,
    )


def none_left(group: int, patience_s: float = 10.0) -> bool:
    """Whether the process group has ended, Python's own resource tracker a moment later."""
    given_up = time.monotonic() + patience_s
    while time.monotonic() < given_up:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
