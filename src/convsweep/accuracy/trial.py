"""One trial: every variant trained on one split of a data set from one seed, then timed in turns.

It runs in a process of its own, under the conditions of a measuring process.
"""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from torch import nn

from convsweep.accuracy.datasets import Dataset
from convsweep.accuracy.inference_timing import EFFORT, inference_s
from convsweep.accuracy.model import Task, build, deployed, macs, width_of
from convsweep.accuracy.training import BATCH_SIZE, Data, judge, tensors, train, weights_digest
from convsweep.measure.outcome import failure, utc_now
from convsweep.measure.sampling import MeasurementConfig
from convsweep.problems.problem import format_size
from convsweep.results.accuracy_schema import VARIANTS
from convsweep.system import process as conditions
from convsweep.system.devices import Device, find_device, use_full_precision


@dataclass(frozen=True)
class Trial:
    """What is trained; `width` is that of the standard network."""

    data: Dataset
    seed: int
    width: int
    epochs: int
    threads: int
    effort: MeasurementConfig = EFFORT
    """How much is timed of a call."""


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """How one variant went: what its row holds beside who, where and when."""

    variant: str
    started_at: str
    status: str
    reason: str | None = None
    width: int | None = None
    in_channels: int | None = None
    input_size: str | None = None
    classes: int | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    epochs: int | None = None
    accuracy: float | None = None
    loss: float | None = None
    parameters: int | None = None
    macs: int | None = None
    training_s: float | None = None
    inference_s: float | None = None
    batch_size: int | None = None
    batch_inference_s: float | None = None
    split_digest: str | None = None
    weights_digest: str | None = None


def all_alike(status: str, reason: str) -> list[TrialOutcome]:
    """The outcomes of a trial that gives no numbers."""
    now = utc_now()
    return [
        TrialOutcome(variant=variant, started_at=now, status=status, reason=reason)
        for variant in VARIANTS
    ]


def run_trial(trial: Trial, device: Device) -> list[TrialOutcome]:
    """Train and time every variant; the order of training is drawn by the seed.

    Weights and the order of samples are drawn by generators of their own, from the same seed for
    every variant: a network's result does not depend on what was trained before it.
    """
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms, a second sooner
    split = trial.data.split(trial.seed)
    data = tensors(split)
    task = Task(split.train.shape[1], split.train.shape[2], int(split.train_labels.max()) + 1)
    rng = random.Random(trial.seed)
    _warm_up(task, data)
    trained = {
        variant: _trained(trial, task, variant, data, device)
        for variant in rng.sample(VARIANTS, len(VARIANTS))
    }
    networks = {variant: deployed(trained[variant].network) for variant in VARIANTS}
    single_s = inference_s(networks, data.test[:1], device, rng, trial.effort)
    batch = data.test[:BATCH_SIZE]
    batch_s = inference_s(networks, batch, device, rng, trial.effort)
    return [
        TrialOutcome(
            variant=variant,
            started_at=trained[variant].started_at,
            status="ok",
            width=trained[variant].width,
            in_channels=task.in_channels,
            input_size=format_size((task.size, task.size)),
            classes=task.classes,
            train_samples=len(data.train),
            test_samples=len(data.test),
            epochs=trial.epochs,
            accuracy=trained[variant].accuracy,
            loss=trained[variant].loss,
            parameters=sum(p.numel() for p in trained[variant].network.parameters()),
            macs=macs(task, variant, trained[variant].width),
            training_s=trained[variant].training_s,
            inference_s=single_s[variant],
            batch_size=len(batch),
            batch_inference_s=batch_s[variant],
            split_digest=split.digest,
            weights_digest=trained[variant].weights_digest,
        )
        for variant in VARIANTS
    ]


def _warm_up(task: Task, data: Data) -> None:
    """One step that nobody counts: torch's first optimizer takes a second to import what it needs.

    It leaves nothing behind, since all that is drawn comes from generators of a trial's own.
    """
    generator = torch.Generator().manual_seed(0)
    step = Data(*(part[:BATCH_SIZE] for part in data))
    train(build(task, VARIANTS[0], 1, generator), step, 1, generator)


@dataclass(frozen=True)
class _Trained:
    """A network after its training."""

    network: nn.Sequential
    width: int
    started_at: str
    training_s: float
    accuracy: float
    loss: float
    weights_digest: str


def _trained(trial: Trial, task: Task, variant: str, data: Data, device: Device) -> _Trained:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(trial.seed)

    started_at, width = utc_now(), width_of(task, variant, trial.width)
    network = build(task, variant, width, generator())
    training_s = device.clock(lambda: train(network, data, trial.epochs, generator()))
    found = judge(network, data)
    return _Trained(
        network, width, started_at, training_s, found.accuracy, found.loss, weights_digest(network)
    )


def serve(connection: Connection, trial: Trial) -> None:
    """Send the outcomes of a trial, under the conditions of a measuring process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends this process
    conditions.end_with_parent()
    conditions.retain_memory()
    conditions.pin(trial.threads)
    conditions.take_priority()
    conditions.fix_threads(trial.threads)
    use_full_precision()
    kept = conditions.randomize_heap_layout(random.Random(trial.seed))
    try:
        found = run_trial(trial, find_device("cpu"))
    except Exception as error:
        failed = failure(error)
        found = all_alike(failed.status, failed.reason or "")
    connection.send(found)
    del kept
