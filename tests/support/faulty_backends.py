"""A package outside convsweep that brings backends, good and bad, under its entry points."""

from pathlib import Path

LOG = "CONVSWEEP_OUTSIDE_LOG"
"""Variable with the path of a log of prepare and act events, in lines of
`prepare|act NAME PROBLEM PROCESS SECONDS`; seconds of the system's monotonic clock."""

FAULTS = {
    "segfaults": "crash",
    "aborts": "crash",
    "exits": "crash",
    "raises": "error",
    "loops": "timeout",
    "holds_the_gil": "timeout",
    "grows": "out_of_memory",
    "stops": "timeout",
    "poisons": "error",
}
"""The nine kinds of fault, as backends `outside_KIND`, and the status that each must have."""

MEMORY_LIMIT_BYTES = 2 * 2**30
"""What a run with a backend that grows is given, so that its limit is soon reached."""

MODULE = """
import ctypes, os, signal, sys, time
import torch
from torch.nn.functional import conv2d
from convsweep import Backend
from convsweep.backends import base

def note(what, name, problem):
    if path := os.environ.get("CONVSWEEP_OUTSIDE_LOG"):
        with open(path, "a") as file:
            file.write(f"{what} {name} {problem.label} {os.getpid()} {time.monotonic()}\\n")

def honest(problem, weights):
    return lambda x: conv2d(x, weights.dense, weights.bias, problem.stride, problem.padding,
                            problem.dilation, problem.groups)

def bad(name, action):
    def prepare(problem, weights):
        note("prepare", name, problem)
        inner = honest(problem, weights)
        def conv(x):
            note("act", name, problem)
            action()
            return inner(x)
        return conv
    return Backend(name, prepare)

def noted(name):
    def prepare(problem, weights):
        note("prepare", name, problem)
        return honest(problem, weights)
    return Backend(name, prepare)

def kills_itself():
    os.kill(os.getpid(), signal.SIGSEGV)

def raises():
    raise RuntimeError("no, | <b>not</b>\\ntoday")

def chatters():
    print("a backend may print")
    sys.stdout.flush()

def loops():
    while True:
        pass

kept = []

def grows():
    size = 2**30  # most of these zeros are never touched: only their addresses count
    while True:
        try:
            kept.append(bytes(size))
        except MemoryError:
            if size < 1000:
                raise
            size //= 2

def grows_in_tensors():
    while True:
        kept.append(torch.empty(2**22))

def grows_natively():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    while libc.malloc(2**24):
        pass
    raise MemoryError("malloc has no more")

def poisons():
    def broken(*arguments, **options):
        raise RuntimeError("CUDA error: device-side assert triggered")
    for name in ("conv1d", "conv2d", "conv3d", "pad", "unfold"):
        setattr(torch.nn.functional, name, broken)
    torch.empty = torch.randn = torch.matmul = broken
    broken()

def off_by_a_little(problem, weights):
    inner = honest(problem, weights)
    return lambda x: inner(x) + 0.01

def tells(implementation):
    def prepare(problem, weights):
        return base.tells(honest(problem, weights), implementation)
    return prepare

TELLS = Backend("outside_tells", tells(lambda x: base.Implementation("own kernel", reorders=2)))
TELLS_WRONGLY = Backend("outside_tells_wrongly", tells(lambda x: raises()))
GOOD = noted("outside_good")
GOOD_TOO = noted("outside_good_too")
CHATTY = bad("outside_chatty", chatters)
WRONG = Backend("outside_wrong", off_by_a_little)
SEGFAULTS = bad("outside_segfaults", lambda: ctypes.string_at(0))
KILLS_ITSELF = bad("outside_kills_itself", kills_itself)
ABORTS = bad("outside_aborts", os.abort)
EXITS = bad("outside_exits", lambda: os._exit(3))
RAISES = bad("outside_raises", raises)
HANGS = bad("outside_hangs", lambda: time.sleep(600))
LOOPS = bad("outside_loops", loops)
HOLDS_THE_GIL = bad("outside_holds_the_gil", lambda: ctypes.PyDLL(None).sleep(600))
GROWS = bad("outside_grows", grows)
GROWS_IN_TENSORS = bad("outside_grows_in_tensors", grows_in_tensors)
GROWS_NATIVELY = bad("outside_grows_natively", grows_natively)
STOPS = bad("outside_stops", lambda: os.kill(os.getpid(), signal.SIGSTOP))
POISONS = bad("outside_poisons", poisons)
NOT_A_BACKEND = "a string"
TAKEN = Backend("torch_conv", honest)
"""

_GOOD_AND_BAD = (
    "good", "good_too", "tells", "tells_wrongly", "chatty", "wrong", "kills_itself", "hangs",
    "grows_in_tensors", "grows_natively", *FAULTS,
)  # fmt: skip

ENTRY_POINTS = f"""
[convsweep.backends]
{"".join(f"outside_{name} = convsweep_outside:{name.upper()}{chr(10)}" for name in _GOOD_AND_BAD)}
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
