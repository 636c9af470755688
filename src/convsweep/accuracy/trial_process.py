"""A trial in a process of its own, watched by one that stays free for Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Callable

from convsweep.accuracy.trial import Trial, TrialOutcome, all_alike, serve
from convsweep.system.forkserver import get_context, isolated_start

_LOOK_EVERY_S = 0.1


def run_trial_in_process(
    trial: Trial, interrupted: Callable[[], bool]
) -> list[TrialOutcome] | None:
    """The trial's outcomes; None where an interrupt came first, and the process was ended.

    A process that dies leaves outcomes that say how.
    """
    processes = get_context()
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=serve, args=(theirs, trial), daemon=True)
    with isolated_start():
        process.start()
    theirs.close()
    try:
        while not ours.poll(_LOOK_EVERY_S):
            if interrupted():
                return None
        found: list[TrialOutcome] = ours.recv()
        return found
    except (EOFError, ConnectionError):
        process.join()
        return all_alike("crash", _how_it_ended(process.exitcode))
    finally:
        process.kill()
        process.join()
        ours.close()  # once nobody is left to fail at sending into it
        process.close()


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0 and -code in set(signal.Signals):
        return f"killed by {signal.Signals(-code).name}"
    return f"the training process ended with exit code {code}"
