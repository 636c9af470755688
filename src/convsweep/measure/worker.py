"""Worker process: sets itself up, then answers its parent's messages one by one."""

import gc
import random
import signal
from multiprocessing.connection import Connection
from time import perf_counter

import torch

from convsweep.backends.registry import built_in
from convsweep.measure import messages
from convsweep.measure.gate import setup_group
from convsweep.measure.network_timing import time_network
from convsweep.measure.outcome import failure
from convsweep.measure.problem_data import save
from convsweep.measure.settings import Settings
from convsweep.measure.timing import GroupTimer
from convsweep.system import process
from convsweep.system.counters import Counters
from convsweep.system.devices import use_full_precision
from convsweep.system.streams import guard_streams

# In the fork server, so that no worker process has to do it.
built_in()
gc.freeze()  # imported objects are never garbage; scanning them takes 0.1 s
_CHEAP_S = 0.002  # computing inputs and reference again is as fast as reading them


def serve(connection: Connection, settings: Settings) -> None:
    """Answer messages until the connection closes; runs in a process of its own."""
    guard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    worker = Worker(settings)
    try:
        with torch.no_grad():
            while True:
                message = connection.recv()
                try:
                    connection.send(worker.reply(message))
                except MemoryError as error:  # too little is left to send the outcome
                    process.use_spare_memory()
                    connection.send(failure(error))
    except (EOFError, ConnectionError):
        return


class Worker:
    """State of a worker process."""

    def __init__(self, settings: Settings) -> None:
        retain = settings.allocator == "retain"
        self._process_setup: dict[str, object] = {
            "allocator": process.retain_memory() if retain else "system",
            "cores": process.pin(settings.threads, settings.cores),
            "niceness": process.take_priority(),
            "address_randomization": process.address_randomization(),
            "memory_limit_bytes": settings.memory_limit_bytes,
        }
        self._counters = Counters()  # before any library starts threads
        process.limit_memory(settings.memory_limit_bytes)
        process.fix_threads(settings.threads)
        use_full_precision()
        self._heap_padding = process.randomize_heap_layout(random.Random(settings.seed))
        self._settings = settings
        self._timers: list[tuple[GroupTimer, int]] = []  # timer and index in its group, per case

    def reply(self, message: messages.Message) -> messages.Reply:
        """Return the reply to one message; a failure is an `Outcome`, never an exception."""
        try:
            return self._execute(message)
        except Exception as error:
            return failure(error)
        finally:
            if isinstance(message, messages.WarmUp | messages.Block) and message.yield_turn:
                process.wait_until_idle()

    def _execute(self, message: messages.Message) -> messages.Reply:
        if isinstance(message, messages.Describe):
            return self._process_setup
        if isinstance(message, messages.Setup):
            return self._setup(message)
        if isinstance(message, messages.TimeNetwork):
            return time_network(message)
        return self._step(message)

    def _step(self, message: messages.CaseStep) -> messages.Reply:
        timer, index = self._timers[message.index]
        match message:
            case messages.Validate(_, accepted, call_s):
                return timer.validate(index, accepted, call_s)
            case messages.WarmUp():
                return timer.warm_up(index).blocks
            case messages.Block(is_last=True):
                return timer.time_last_block(index)
            case messages.Block():
                timer.time_block(index)
                return None
            case messages.Finish():
                return timer.finish(index)
            case messages.Explain():
                return timer.explain(index, message.earlier)

    def _setup(self, message: messages.Setup) -> messages.SetupDone:
        if message.first:
            self._timers.clear()  # frees their tensors
        started = perf_counter()
        group = setup_group(message.cases, self._settings, message.file)
        timer = GroupTimer(group, self._counters)
        self._timers += [(timer, index) for index in range(len(message.cases))]
        first = message.file is None and self._settings.effort is not None
        keep = first and perf_counter() - started > _CHEAP_S
        return messages.SetupDone(save(group.data) if keep else None)
