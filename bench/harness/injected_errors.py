"""Injected errors: what the full check and the fast check find, in the first and in a later pass.

    python -m bench.harness.injected_errors --trials 20 --out results/harness

The error is added to the output of an honest convolution, in units of the bound of the gate. Low
precision rounds the inputs instead, as TF32 and bfloat16 do.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from itertools import product
from pathlib import Path

import click
import torch
from torch import Tensor

from convsweep.backends.base import Conv, direct_sum_bound
from convsweep.backends.strategies.torch_conv import prepare
from convsweep.measure.checks import Original, check, output, recheck
from convsweep.measure.inputs import make_inputs
from convsweep.measure.messages import Accepted
from convsweep.measure.projection import project
from convsweep.measure.reference import compute_reference
from convsweep.problems.problem import ConvProblem

FILE = "injected_errors.csv"
PROBLEMS = (
    ConvProblem(32, 64, (28, 28), 3, padding=1),
    ConvProblem(64, 192, (20, 20), 3, padding=1, bias=True),
    ConvProblem(128, 128, (200,), 3),
)
SIZES = (0.5, 0.9, 1.0, 1.1, 1.5, 2.0, 10.0, 1000.0)
LOW_PRECISION = {"tf32 inputs": 10, "bf16 inputs": 7}
"""Bits of the mantissa."""
_FLOAT32_BITS = 23

Place = tuple[int | slice, ...]


@dataclass(frozen=True)
class Found:
    """Number of trials with one kind and size of error in which each check finds it."""

    problem: str
    kind: str
    size: float
    """In units of the bound; 0 for low precision, which has its own."""
    later_pass: bool
    """Whether an earlier pass has accepted right outputs."""
    trials: int
    full: int
    fast: int
    missed: int
    """By the fast check only."""


def places(shape: tuple[int, ...], rng: random.Random) -> dict[str, Place]:
    """Return the part of an output that each kind of error changes."""
    at = [rng.randrange(size) for size in shape[:2]]
    pixel = [rng.randrange(1, size - 1) for size in shape[2:]]
    return {
        "one element": (*at, *pixel),
        "one corner": (*at, *[-1] * len(pixel)),
        "one border": (*at, 0),
        "one pixel": (at[0], slice(None), *pixel),
        "one channel": (*at,),
        "everything": (slice(None),),
    }


def rounded(tensor: Tensor, bits: int) -> Tensor:
    """Return float32 values rounded to fewer bits of the mantissa."""
    cut = _FLOAT32_BITS - bits
    whole = tensor.contiguous().view(torch.int32) + (1 << (cut - 1))
    return (whole >> cut << cut).view(torch.float32)


class Trials:
    """Trials of one problem, with an honest convolution and both references."""

    def __init__(self, problem: ConvProblem) -> None:
        self.problem, self.bound = problem, direct_sum_bound(problem)
        self.inputs, original = make_inputs(problem), make_inputs(problem)
        self.original = Original.of(original)
        self.honest = prepare(problem, self.inputs.weights)
        full = compute_reference(problem, original)
        self.references = {"full": full, "fast": project(problem, original)}
        self.unit = self.bound * torch.finfo(torch.float32).eps * full.scale

    def all(self, trials: int) -> Iterator[Found]:
        """Yield the counts of all kinds and sizes."""
        for later_pass, size in product((False, True), SIZES):
            rng = random.Random(size)
            drawn = [places(self.problem.output_shape, rng) for _ in range(trials)]
            for kind in drawn[0]:
                error = size * self.unit * rng.choice((-1, 1))
                convs = [self._adding(one[kind], error) for one in drawn]
                yield self._count(kind, size, later_pass, convs)
        for later_pass, (kind, bits) in product((False, True), LOW_PRECISION.items()):
            yield self._count(kind, 0.0, later_pass, [self._rounding(bits)])

    def _adding(self, place: Place, error: float) -> Conv:
        def conv(x: Tensor) -> Tensor:
            y = self.honest(x)
            y[place] += error
            return y

        return conv

    def _rounding(self, bits: int) -> Conv:
        return lambda x: self.honest(rounded(x, bits))

    def _count(self, kind: str, size: float, later_pass: bool, convs: list[Conv]) -> Found:
        full, fast = ([self._finds(name, conv, later_pass) for conv in convs]
                      for name in self.references)  # fmt: skip
        missed = sum(one and not other for one, other in zip(full, fast, strict=True))
        counts = (len(convs), sum(full), sum(fast), missed)
        return Found(self.problem.label, kind, size, later_pass, *counts)

    def _finds(self, name: str, conv: Conv, later_pass: bool) -> bool:
        accepted: Accepted = {}
        reference = self.references[name]
        inputs, targets = self.inputs, output(reference, self.bound)
        for tried in [self.honest, conv] if later_pass else [conv]:
            result = check(
                tried, inputs, targets, original=self.original, accepted=accepted,
                once=later_pass and tried is conv,
            )  # fmt: skip
        wrong = recheck(lambda: conv(inputs.x), [], inputs, targets, accepted, lambda: None)
        return result.status == "mismatch" or wrong is not None


@click.command()
@click.option("--trials", metavar="N", type=click.IntRange(1), default=20)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
def main(trials: int, out: Path) -> None:
    """Compare what the full and the fast check find; write a table."""
    torch.set_num_threads(1)
    found = [one for problem in PROBLEMS for one in Trials(problem).all(trials)]
    out.mkdir(parents=True, exist_ok=True)
    with (out / FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Found)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, found))
    for kind, size in dict.fromkeys((one.kind, one.size) for one in found):
        rows = [one for one in found if (one.kind, one.size) == (kind, size)]
        totals = [sum(getattr(one, name) for one in rows)
                  for name in ("trials", "full", "fast", "missed")]  # fmt: skip
        size_text = f"{size:g} x bound" if size else ""
        click.echo("{:12} {:14} trials {:4} full {:4} fast {:4} missed {}".format(
            kind, size_text, *totals))  # fmt: skip


if __name__ == "__main__":
    main()
