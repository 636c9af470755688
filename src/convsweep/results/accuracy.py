"""accuracy.csv: one row per trained network, written in units of one data set and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from convsweep.results.csv_table import CsvTable

if TYPE_CHECKING:
    from pandas import DataFrame

SCHEMA_VERSION = 1
STATUSES = ("crash", "error", "out_of_memory", "skipped", "ok")
"""How a training can end, the worst first."""
STANDARD, SEPARABLE, EQUAL_COST = VARIANTS = ("standard", "separable", "equal_cost")
"""Networks of 3x3 convolutions; of separable ones; of wider separable ones at the same MACs."""
EPOCHS = {"digits": 12, "mnist": 6, "indian_pines": 5}  # Default number of epochs per data set


class Unit(NamedTuple):
    """Networks that are trained, timed and written together: all variants of one seed."""

    dataset: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class AccuracyRow:
    """One trained network. A missing value is None, never 0."""

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
    width: int | None = None  # Channels of the first layer; other layers have multiples of it
    in_channels: int | None = None
    input_size: str | None = None
    classes: int | None = None
    train_samples: int | None = None
    test_samples: int | None = None
    epochs: int | None = None
    accuracy: float | None = None  # Share of held-out samples correct after the last epoch
    loss: float | None = None  # Cross-entropy of the held-out samples, in nats per sample
    parameters: int | None = None
    macs: int | None = None  # MACs per sample: convolutions and the last, fully connected layer
    training_s: float | None = None
    inference_s: float | None = None  # Median time of one call with one sample
    batch_size: int | None = None
    batch_inference_s: float | None = None  # Median time of one call with `batch_size` samples
    split_digest: str | None = None  # First 16 digits of the SHA-256 of training and test samples
    weights_digest: str | None = None  # First 16 digits of the SHA-256 of the trained weights


def completed_units(rows: DataFrame) -> frozenset[Unit]:
    """Return the units of which every variant has a row."""
    counts = rows.groupby(["dataset", "seed"]).size()
    return frozenset(Unit(*key) for key in counts.index[counts == len(VARIANTS)])


def _complete_rows(rows: DataFrame) -> int:
    """Return the number of rows up to the end of the last complete unit."""
    last = rows.groupby(["dataset", "seed"]).cumcount() == len(VARIANTS) - 1
    return int(last.to_numpy().nonzero()[0].max(initial=-1)) + 1


def _require_valid_values(frame: DataFrame) -> None:
    """Raise `ValueError` if a value can't come from a training."""
    if frame.duplicated(["dataset", "variant", "seed"]).any():
        raise ValueError("two rows are of one data set, variant and seed")
    ok = frame[frame["status"] == "ok"]
    if not ok["accuracy"].between(0, 1).all():
        raise ValueError("an accuracy is not between 0 and 1")
    if not (ok[["training_s", "inference_s", "batch_inference_s"]] > 0).all(axis=None):
        raise ValueError("a time is not above zero")


ACCURACY_TABLE = CsvTable(
    AccuracyRow,
    file_name="accuracy.csv",
    kind="an accuracy file",
    version=SCHEMA_VERSION,
    largest_file=16_777_216,
    allowed={"status": STATUSES, "variant": VARIANTS},
    check=_require_valid_values,
    complete_rows=_complete_rows,
)
