"""A measuring process: one pass, its environment fixed, answering group after group of cases."""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import torch

from convsweep.admission import open_contest
from convsweep.contest import Finished, Tell, hold
from convsweep.device import use_full_precision
from convsweep.environment import steady_allocator
from convsweep.grid import Case
from convsweep.record import failure
from convsweep.sampling import Effort


@dataclass(frozen=True)
class Settings:
    """What a measuring process is told once."""

    threads: int = 1
    seed: int = 0
    case_timeout_s: float = 10.0
    effort: Effort | None = field(default_factory=Effort)
    """None: the gate alone, no timing."""


def serve(connection: Connection, settings: Settings) -> None:
    """Answer groups of cases until the connection closes; runs in a process of its own."""
    steady_allocator()
    use_full_precision()
    torch.set_num_threads(settings.threads)
    gc.freeze()  # what the imports made is never garbage, and looking it over takes 0.1 s a group
    rng = random.Random(settings.seed)
    try:
        while True:
            with torch.no_grad():
                _answer(connection.recv(), settings, rng, connection.send)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _answer(cases: Sequence[Case], settings: Settings, rng: random.Random, tell: Tell) -> None:
    """Measure one group; where not even its inputs can be had, every case fails alike."""
    try:
        contest = open_contest(
            cases, case_timeout_s=settings.case_timeout_s, effort=settings.effort
        )
    except Exception as error:
        for index in range(len(cases)):
            tell(Finished(index, failure(error)))
    else:
        hold(contest, rng, tell)
