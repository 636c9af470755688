"""Inputs and reference of a problem: computed once per run, then read from a file."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from convsweep.backends.base import Weights
from convsweep.measure.inputs import Inputs, draw_inputs
from convsweep.measure.messages import DataFile
from convsweep.measure.reference import Reference, compute_reference
from convsweep.problems.case import Case
from convsweep.system.forkserver import FOLDER


@dataclass(frozen=True)
class ProblemData:
    """Contiguous inputs on the CPU, and their reference."""

    inputs: Inputs
    reference: Reference


def compute(case: Case) -> ProblemData:
    """Draw the inputs of a case and compute their reference."""
    inputs = draw_inputs(case.problem, weight_kind=case.weight_kind, dtype=case.dtype)
    return ProblemData(inputs, compute_reference(case.problem, inputs))


def save(data: ProblemData) -> DataFile | None:
    """Write the data for later worker processes; None without a folder, or if it is full."""
    if not (folder := os.environ.get(FOLDER)):
        return None
    inputs, reference = data.inputs, data.reference
    weights = (inputs.weights.dense, inputs.weights.bias, inputs.weights.factors)
    values = (inputs.x, weights, (reference.y, reference.negated, reference.scale))
    try:
        file, name = tempfile.mkstemp(".pt", dir=folder)
        os.close(file)
        torch.save(values, name)
        return DataFile(name, Path(name).stat().st_size)
    except (OSError, RuntimeError):
        with suppress(OSError, UnboundLocalError):
            Path(name).unlink()
        return None


def load(file: DataFile) -> ProblemData:
    """Map a file into memory."""
    x, weights, reference = torch.load(file.path, mmap=True, weights_only=True)
    return ProblemData(Inputs(x, Weights(*weights)), Reference(*reference))
