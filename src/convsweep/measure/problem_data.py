"""Inputs and reference of a problem: computed once per run, then read from a file."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from convsweep.backends.base import Backend, BatchNorm, Weights
from convsweep.measure.blocks import FACTORED, compute_block
from convsweep.measure.gradients import OUTPUT, compute_gradients
from convsweep.measure.inputs import Inputs, draw_case, torch_dtype
from convsweep.measure.messages import DataFile
from convsweep.measure.projection import Projection, is_cheap, project
from convsweep.measure.reference import Reference, compute_reference
from convsweep.problems.case import CONV, Case
from convsweep.problems.problem import ConvProblem
from convsweep.system.forkserver import FOLDER


@dataclass(frozen=True)
class ProblemData:
    """Contiguous inputs on the CPU, and their full reference or the projected one."""

    inputs: Inputs
    reference: Reference | Projection | dict[str, Reference]
    """Of the output; or of each output by its name, if the direction has gradients or the
    case is a block."""

    def reference_of(
        self, backend: Backend, block: str
    ) -> Reference | Projection | dict[str, Reference]:
        """Return the part of the reference that a backend computes: standard or separable."""
        own = self.reference
        if block != CONV and isinstance(own, dict):
            own = {
                name.removeprefix(FACTORED): one
                for name, one in own.items()
                if name.startswith(FACTORED) == backend.needs_factors
            }
            own = own if self.inputs.grad is not None else own[OUTPUT]
        if not backend.computes_in:
            return own
        eps = torch.finfo(torch_dtype(backend.computes_in)).eps
        if isinstance(own, dict):
            return {name: replace(one, eps=eps) for name, one in own.items()}
        return replace(own, eps=eps)


def compute(case: Case, fast_check: bool) -> ProblemData:
    """Draw the inputs of a case and compute their reference, projected if that is cheaper."""
    inputs = draw_case(case)
    if case.block != CONV:
        return ProblemData(*compute_block(case, inputs))
    if inputs.grad is not None:
        return ProblemData(inputs, compute_gradients(case.problem, inputs))
    projected = fast_check and is_cheap(case.problem, case.dtype)
    reference = project if projected else compute_reference
    return ProblemData(inputs, reference(case.problem, inputs))


def save(data: ProblemData) -> DataFile | None:
    """Write the data for later worker processes; None without a folder, or if it is full."""
    if not (folder := os.environ.get(FOLDER)):
        return None
    inputs, reference = data.inputs, data.reference
    own = inputs.weights
    norms = (own.norm and (*own.norm,), tuple(map(tuple, own.factor_norms)))
    weights = (own.dense, own.bias, own.factors, *norms)
    values = (inputs.x, weights, inputs.grad, _fields(reference))
    path = Path(folder, f"{uuid4()}.pt")
    try:
        torch.save(values, path)
        return DataFile(str(path), path.stat().st_size)
    except (OSError, RuntimeError):
        with suppress(OSError):
            path.unlink()
        return None


def _fields(reference: Reference | Projection | dict[str, Reference]) -> dict[str, Any]:
    if isinstance(reference, dict):
        return {name: _fields(one) for name, one in reference.items()}
    names = [field.name for field in fields(reference)]
    return {name: getattr(reference, name) for name in names if name not in ("problem", "inputs")}


def load(file: DataFile, problem: ConvProblem) -> ProblemData:
    """Map the file of a problem into memory."""
    x, weights, grad, kept = torch.load(file.path, mmap=True, weights_only=True)
    dense, bias, factors, norm, norms = weights
    norms = tuple(BatchNorm(*each) for each in norms)
    inputs = Inputs(x, Weights(dense, bias, factors, norm and BatchNorm(*norm), norms), grad)
    if all(isinstance(own, dict) for own in kept.values()):
        return ProblemData(inputs, {name: Reference(**own) for name, own in kept.items()})
    if "sums" in kept:
        return ProblemData(inputs, Projection(problem, inputs, **kept))
    return ProblemData(inputs, Reference(**kept))
