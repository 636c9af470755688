"""One trial: every variant trained on one split of a data set from one seed, then timed in turns.

It runs in a process of its own, with the setup of a measuring process.
"""

import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection

import torch
from torch import Tensor, nn

from convsweep.accuracy.datasets import Dataset, digest
from convsweep.accuracy.model import ImageTask, build, deploy, macs, width_of
from convsweep.accuracy.training import BATCH_SIZE, Data, evaluate, train, weights_digest
from convsweep.measure.outcome import failure, utc_now
from convsweep.measure.sampling import (
    Call,
    MeasurementConfig,
    discard_warmup,
    make_plan,
    quantiles,
    time_block,
    warm_up,
)
from convsweep.measure.settings import Settings
from convsweep.measure.worker import Worker
from convsweep.problems.problem import format_size
from convsweep.results.accuracy import VARIANTS, AccuracyRow
from convsweep.system import forkserver
from convsweep.system.devices import Device, find_device
from convsweep.system.streams import guard_streams

EFFORT = MeasurementConfig(blocks=5, case_s=0.5)
_POLL_S = 0.1


@dataclass(frozen=True)
class Trial:
    """Training of every variant on one split."""

    data: Dataset
    row: AccuracyRow
    """Run, environment, data set, seed and threads that all rows of the trial share."""
    width: int  # Channels behind the first layer of the standard network
    epochs: int
    effort: MeasurementConfig = EFFORT  # Of timing a call


def failed_rows(row: AccuracyRow, status: str, reason: str) -> list[AccuracyRow]:
    """Return the rows of a trial without numbers."""
    failed = replace(row, started_at=utc_now(), status=status, reason=reason)
    return [replace(failed, variant=variant) for variant in VARIANTS]


def run_trial(trial: Trial, device: Device) -> list[AccuracyRow]:
    """Train and time every variant; the order of training is drawn by the seed.

    For every variant, separate generators draw the weights and the order of samples from the same
    seed. So a result does not depend on what was trained before.
    """
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms, a second sooner
    split = trial.data.split(trial.row.seed)
    data = Data(*map(torch.from_numpy, split))
    task = ImageTask(split.train.shape[1], split.train.shape[2], int(split.train_labels.max()) + 1)
    rng = random.Random(trial.row.seed)
    _warm_up(task, data)
    trained = {
        variant: _trained(trial, task, variant, data, device)
        for variant in rng.sample(VARIANTS, len(VARIANTS))
    }
    networks = {variant: deploy(trained[variant][0]) for variant in VARIANTS}
    batch = data.test[:BATCH_SIZE]
    single_s, batch_s = (
        inference_s(networks, x, device, rng, trial.effort) for x in (data.test[:1], batch)
    )
    return [
        replace(
            trained[variant][1],
            input_size=format_size((task.size, task.size)),
            in_channels=task.in_channels,
            classes=task.classes,
            train_samples=len(data.train),
            test_samples=len(data.test),
            inference_s=single_s[variant],
            batch_size=len(batch),
            batch_inference_s=batch_s[variant],
            split_digest=digest(split),
        )
        for variant in VARIANTS
    ]


def _warm_up(task: ImageTask, data: Data) -> None:
    """Run one uncounted step: torch's first optimizer takes a second to import its modules.

    It changes nothing else, since a trial draws from generators of its own.
    """
    generator = torch.Generator().manual_seed(0)
    step = Data(*(part[:BATCH_SIZE] for part in data))
    train(build(task, VARIANTS[0], 1, generator), step, 1, generator)


def _trained(
    trial: Trial, task: ImageTask, variant: str, data: Data, device: Device
) -> tuple[nn.Sequential, AccuracyRow]:
    """Train one variant; return the network and its row without inference times."""

    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(trial.row.seed)

    started_at, width = utc_now(), width_of(task, variant, trial.width)
    network = build(task, variant, width, generator())
    training_s = device.clock(lambda: train(network, data, trial.epochs, generator()))
    accuracy, loss = evaluate(network, data)
    row = replace(
        trial.row,
        variant=variant,
        started_at=started_at,
        status="ok",
        width=width,
        epochs=trial.epochs,
        accuracy=accuracy,
        loss=loss,
        parameters=sum(p.numel() for p in network.parameters()),
        macs=macs(task, variant, width),
        training_s=training_s,
        weights_digest=weights_digest(network),
    )
    return network, row


def inference_s(
    networks: Mapping[str, Callable[[Tensor], Tensor]],
    x: Tensor,
    device: Device,
    rng: random.Random,
    effort: MeasurementConfig,
) -> dict[str, float]:
    """Return the median seconds of each network's call on `x`, timed in random turns."""
    calls: dict[str, Call] = {name: partial(network, x) for name, network in networks.items()}
    samples: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        overhead_s = device.clock_overhead_s
        plans = {
            name: make_plan(warm_up(device.clock, call, effort.warm_up_s), overhead_s, effort)
            for name, call in calls.items()
        }
        for _ in range(effort.blocks):
            for name in rng.sample(list(calls), len(calls)):
                discard_warmup(device.clock, calls[name], plans[name])
                samples[name] += time_block(device.clock, calls[name], plans[name])[0]
    return {name: quantiles(found).median_s for name, found in samples.items()}


def run_trial_in_process(trial: Trial, interrupted: Callable[[], bool]) -> list[AccuracyRow] | None:
    """Run a trial in a process of its own; return None if it is interrupted.

    If the process dies, the rows contain how it ended.
    """
    context = forkserver.get_context()
    receiver, sender = context.Pipe(duplex=False)
    worker = context.Process(target=serve, args=(sender, trial), daemon=True)
    with forkserver.isolated_start():
        worker.start()
    sender.close()
    finished = False
    try:
        while not receiver.poll(_POLL_S):
            if interrupted():
                return None
        rows: list[AccuracyRow] = receiver.recv()
        finished = True
        return rows
    except (EOFError, ConnectionError):
        return failed_rows(trial.row, "crash", forkserver.exit_reason(worker, "training"))
    finally:
        forkserver.end(worker, idle=finished)
        receiver.close()  # after the process has ended, or sending would fail in it


def serve(connection: Connection, trial: Trial) -> None:
    """Send the rows of a trial, with the setup of a measuring process."""
    guard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    setup = Worker(Settings(threads=trial.row.threads, seed=trial.row.seed))
    try:
        rows = run_trial(trial, find_device("cpu"))
    except Exception as error:
        failed = failure(error)
        rows = failed_rows(trial.row, failed.status, failed.reason or "")
    connection.send(rows)
    del setup
