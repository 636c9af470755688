"""What is known of one network trained on one data set from one seed: a row of accuracy.csv."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_type_hints

SCHEMA_VERSION = 1
STATUSES = ("crash", "error", "out_of_memory", "skipped", "ok")
"""How a training can end, the worst first."""

STANDARD, SEPARABLE, EQUAL_COST = VARIANTS = ("standard", "separable", "equal_cost")
"""3x3 convolutions; separable ones in their place; those, wider until they cost the same MACs."""


EPOCHS = {"digits": 12, "mnist": 6, "indian_pines": 5}
"""How often a network sees each data set's training samples, where nobody asks for more or less."""


@dataclass(frozen=True, kw_only=True)
class AccuracyRow:
    """One trained network; seconds and counts. What is missing is None, never 0."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_at: str
    environment_id: str
    dataset: str
    variant: str
    seed: int
    device: str
    dtype: str
    threads: int
    status: str
    reason: str | None = None
    width: int | None = None
    """Channels behind the first layer; all others are multiples of it."""
    in_channels: int | None = None
    input_size: str | None = None
    classes: int | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    epochs: int | None = None
    accuracy: float | None = None
    """The share of the held-out samples that are classified right, after the last epoch."""
    loss: float | None = None
    """Cross-entropy of the held-out samples, in nats a sample."""
    parameters: int | None = None
    macs: int | None = None
    """Of one sample: convolutions and the last, fully connected layer."""
    training_s: float | None = None
    inference_s: float | None = None
    """One call with one sample, median."""
    batch_size: int | None = None
    batch_inference_s: float | None = None
    """One call with `batch_size` samples, median."""
    split_digest: str | None = None
    """SHA-256 of the samples as they are trained and tested on, the first 16 digits."""
    weights_digest: str | None = None
    """SHA-256 of the trained weights, the first 16 digits."""


COLUMNS = tuple(field.name for field in fields(AccuracyRow))
REQUIRED = tuple(field.name for field in fields(AccuracyRow) if "None" not in str(field.type))

_PANDAS_TYPES = {int: "Int64", float: "float64", str: "string"}


def pandas_types() -> dict[str, str]:
    """The pandas dtype of every column, read off `AccuracyRow`'s annotations."""
    hints = get_type_hints(AccuracyRow)
    return {
        name: next(t for kind, t in _PANDAS_TYPES.items() if hints[name] in (kind, kind | None))
        for name in COLUMNS
    }
