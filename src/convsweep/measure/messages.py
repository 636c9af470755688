"""Messages between a sweep and its worker processes; importing them imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from convsweep.measure.outcome import Outcome
from convsweep.problems.case import FORWARD, Case
from convsweep.problems.problem import ConvProblem, Size

Accepted = dict[str, Outcome]
"""Comparisons of a case that were `ok`, by a digest of the output: the same bits pass again."""


@dataclass(frozen=True)
class DataFile:
    """File with the data of a problem, in the temporary folder of the fork server."""

    path: str
    size: int  # in bytes


@dataclass(frozen=True)
class TimeNetwork:
    """Request to time one network; the reply is `NetworkTimes`, or an `Outcome` if it failed."""

    maker: str  # name of a builder, or a specification for `load_model`
    input_shapes: Sequence[Size]
    device: str
    dtype: str
    memory_format: str
    direction: str = FORWARD  # `forward`, or `training` for whole training steps
    round_s: float = 0.3
    """Seconds for the whole network, and the same for its parts; at least two rounds."""


@dataclass(frozen=True)
class TimedModule:
    """All calls of one kind in a forward pass; for convolutions, all calls of one problem.

    In a training step also their backward passes, as a kind of their own with the same problem.
    """

    kind: str
    problem: ConvProblem | None
    count: int
    total_s: float  # seconds of all these calls per step, less the time of as many empty calls


@dataclass(frozen=True)
class NetworkTimes:
    """Seconds of a network's forward pass or training step, whole and by its parts."""

    whole_s: float
    instrumented_s: float  # the pass or step while its parts are timed, which makes it longer
    calls: int  # number of times that it was timed each way, in turns
    parts: Sequence[TimedModule]
    warm_up_s: float = 0.0  # seconds of all calls before timing
    timing_s: float = 0.0  # seconds of all timed calls


@dataclass(frozen=True)
class Describe:
    """Request for the process setup: a dictionary for environment.json."""


@dataclass(frozen=True)
class Setup:
    """Request to set up a group of cases: `SetupDone` or `Outcome`.

    The cases are counted on from those of the groups before, unless the group is the `first`.
    """

    cases: Sequence[Case]
    file: DataFile | None = None  # from `SetupDone` of an earlier pass
    first: bool = True  # whether earlier groups end


@dataclass(frozen=True)
class SetupDone:
    """Reply to `Setup`, with a file of inputs and reference if that is worth keeping."""

    file: DataFile | None


@dataclass(frozen=True)
class Validate:
    """Request to validate the case at an index: an `Outcome`."""

    index: int
    accepted: bytes = b""  # from the `Outcome` of an earlier pass
    call_s: float | None = None  # seconds per call that an earlier pass has measured


@dataclass(frozen=True)
class WarmUp:
    """Request to warm up a validated case: its number of blocks, or an `Outcome`."""

    index: int
    yield_turn: bool = False  # whether another process continues: reply when all threads are idle


@dataclass(frozen=True)
class Block:
    """Request to time one block: None, or an `Outcome` if it failed."""

    index: int
    is_last: bool = False  # whether the input is changed, and the output checked after timing
    yield_turn: bool = False  # as in `WarmUp`


@dataclass(frozen=True)
class Finish:
    """Request for the measured `Outcome` of a case."""

    index: int


Seconds = dict[str, float]  # seconds per call by part


@dataclass(frozen=True)
class CallParts:
    """Seconds of one call in one process, and of its parts as instruments find them."""

    whole_s: float
    parts: Seconds
    page_faults: float | None
    implementation: str  # name of what runs, or why it is unknown
    fixed_cost_problem: str | None
    """Label of the smaller problem whose calls gave the fixed cost; None: it is unknown."""
    reorders: int | None = None  # layout conversions and copies per call


@dataclass(frozen=True)
class Explain:
    """Request for the parts of a validated case's call: `CallParts`, or an `Outcome`."""

    index: int
    earlier: CallParts | None = None  # reply of an earlier pass


CaseStep = Validate | WarmUp | Block | Finish | Explain
"""Requests for the case at an index."""
Message = Describe | Setup | TimeNetwork | CaseStep
Reply = dict[str, object] | SetupDone | Outcome | NetworkTimes | CallParts | int | None
