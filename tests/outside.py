"""A package outside convsweep that brings backends, good and bad, under its entry points."""

from pathlib import Path

MODULE = """
import os, signal, sys, time
import torch
from torch.nn.functional import conv2d
from convsweep import Backend

def honest(problem, weights):
    return lambda x: conv2d(x, weights.dense, weights.bias, problem.stride, problem.padding,
                            problem.dilation, problem.groups)

def then(action):
    def prepare(problem, weights):
        inner = honest(problem, weights)
        def conv(x):
            action()
            return inner(x)
        return conv
    return prepare

def raises():
    raise RuntimeError("no, | <b>not</b>\\ntoday")

def chatters():
    print("a backend may print")
    sys.stdout.flush()

def off_by_a_little(problem, weights):
    inner = honest(problem, weights)
    return lambda x: inner(x) + 0.01

GOOD = Backend("outside_good", honest)
CHATTY = Backend("outside_chatty", then(chatters))
WRONG = Backend("outside_wrong", off_by_a_little)
RAISES = Backend("outside_raises", then(raises))
EXITS = Backend("outside_exits", then(lambda: os._exit(3)))
SEGFAULTS = Backend("outside_segfaults", then(lambda: os.kill(os.getpid(), signal.SIGSEGV)))
HANGS = Backend("outside_hangs", then(lambda: time.sleep(600)))
NOT_A_BACKEND = "a string"
TAKEN = Backend("torch_conv", honest)
"""

ENTRY_POINTS = """
[convsweep.backends]
outside_good = convsweep_outside:GOOD
outside_chatty = convsweep_outside:CHATTY
outside_wrong = convsweep_outside:WRONG
outside_raises = convsweep_outside:RAISES
outside_exits = convsweep_outside:EXITS
outside_segfaults = convsweep_outside:SEGFAULTS
outside_hangs = convsweep_outside:HANGS
outside_string = convsweep_outside:NOT_A_BACKEND
outside_taken = convsweep_outside:TAKEN
outside_broken = convsweep_outside_broken:BACKEND
outside_missing = convsweep_outside:NOWHERE
"""


def install(folder: Path) -> Path:
    """Put the package into `folder`, to be named in PYTHONPATH."""
    (folder / "convsweep_outside.py").write_text(MODULE)
    (folder / "convsweep_outside_broken.py").write_text("import a_library_that_is_not_installed\n")
    info = folder / "convsweep_outside-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: convsweep-outside\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder
