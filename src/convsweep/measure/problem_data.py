"""Inputs and reference of a problem: computed once per run, then read from a file."""

import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import torch
from torch.serialization import set_crc32_options

from convsweep.backends.base import Backend
from convsweep.measure.blocks import FACTORED, compute_block
from convsweep.measure.gradients import OUTPUT, compute_outputs
from convsweep.measure.inputs import Inputs, draw_case, torch_dtype
from convsweep.measure.messages import DataFile
from convsweep.measure.projection import Projection, is_cheap, project
from convsweep.measure.reference import Reference
from convsweep.problems.case import CONV, Case
from convsweep.system.forkserver import FOLDER

References: TypeAlias = dict[str, Reference | Projection]


@dataclass(frozen=True)
class ProblemData:
    """Contiguous inputs on the CPU, and what is expected of them."""

    inputs: Inputs
    references: References
    """Of each output by its name, full or projected; in a block, those of both kinds."""

    def references_of(self, backend: Backend, block: str) -> References:
        """Return the references of what a backend computes: standard or separable."""
        own = self.references
        if block != CONV:
            own = {
                name.removeprefix(FACTORED): one
                for name, one in own.items()
                if name.startswith(FACTORED) == backend.needs_factors
            }
        if not backend.computes_in:
            return own
        eps = torch.finfo(torch_dtype(backend.computes_in)).eps
        return {name: replace(one, eps=eps) for name, one in own.items()}


def compute(case: Case, fast_check: bool) -> ProblemData:
    """Draw the inputs of a case and compute their reference, projected if that is cheaper."""
    inputs = draw_case(case)
    if case.block != CONV:
        inputs, of_block = compute_block(case, inputs)
        return ProblemData(inputs, {**of_block})
    if fast_check and inputs.grad is None and is_cheap(case.problem, case.dtype):
        return ProblemData(inputs, {OUTPUT: project(case.problem, inputs)})
    return ProblemData(inputs, {**compute_outputs(case.problem, inputs)})


def save(data: ProblemData) -> DataFile | None:
    """Write the data for later worker processes; None without a folder, or if it is full."""
    if not (folder := os.environ.get(FOLDER)):
        return None
    path = Path(folder, f"{uuid4()}.pt")
    try:
        set_crc32_options(False)  # a checksum takes as long as writing
        torch.save(data, path)
        return DataFile(str(path), path.stat().st_size)
    except (OSError, RuntimeError):
        with suppress(OSError):
            path.unlink()
        return None


def load(file: DataFile) -> ProblemData:
    """Map the file of a problem into memory."""
    # An earlier worker process has written it. Safe unpickling takes twice as long.
    data: ProblemData = torch.load(file.path, mmap=True, weights_only=False)
    return data
