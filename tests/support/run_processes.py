"""Commands that measure in processes of their own, and what they leave behind."""

import os
import sys
import time

COMMAND = [sys.executable, "-m", "convsweep"]
AXES = ["--axis", "in_channels=2,3", "--axis", "size=5"]


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
