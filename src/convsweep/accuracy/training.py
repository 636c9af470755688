"""Training and evaluation of one network; the same seed and threads give the same bits."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

BATCH_SIZE = 64
LEARNING_RATE = 2e-2
"""Peak rate of Adam (Kingma & Ba 2015) with the one-cycle policy (Smith & Topin 2019)."""


class Data(NamedTuple):
    """Tensors of a `Split`."""

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor


def train(network: nn.Module, data: Data, epochs: int, generator: torch.Generator) -> None:
    """Train for the given number of epochs; `generator` draws the order of samples."""
    network.train()
    steps = epochs * -(-len(data.train) // BATCH_SIZE)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, cycle_momentum=False
    )
    for batch in _batches(len(data.train), epochs, generator):
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(network(data.train[batch]), data.train_labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _batches(samples: int, epochs: int, generator: torch.Generator) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.split(torch.randperm(samples, generator=generator), BATCH_SIZE)


def evaluate(network: nn.Module, data: Data) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy over all test samples."""
    network.eval()
    right, loss = 0, 0.0
    with torch.inference_mode():
        batches = (torch.split(part, BATCH_SIZE) for part in (data.test, data.test_labels))
        for x, labels in zip(*batches, strict=True):
            scores = network(x)
            right += int((scores.argmax(1) == labels).sum())
            loss += float(cross_entropy(scores, labels, reduction="sum"))
    return right / len(data.test), loss / len(data.test)


def weights_digest(network: nn.Module) -> str:
    """Return the first 16 digits of the SHA-256 of all named weights and running means."""
    found = hashlib.sha256()
    for name, value in network.state_dict().items():
        found.update(name.encode())
        found.update(value.numpy().tobytes())
    return found.hexdigest()[:16]
