"""MobileNet's published work and size, beside what the layers of a run come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from convsweep import formatting
from convsweep.analysis.network_totals import STANDARD_SUFFIX
from convsweep.analysis.run import Run
from convsweep.problems.problem import ConvProblem
from convsweep.report.tables import Table

CAPTION = "MobileNet as published (Howard et al. 2017, Table 4) and as counted here, in millions"
_CLASSIFIER = (1024, 1000)  # inputs and classes (Howard et al. 2017, Table 1, FC)
_NORM = 2  # parameters of a batch norm a channel: scale and shift (Ioffe & Szegedy 2015)


class Size(NamedTuple):
    """Multiply-accumulates of one image, and parameters."""

    macs: float
    parameters: float


_MOBILENET = "mobilenetv1_100"
PUBLISHED: Mapping[str, Size] = MappingProxyType(
    {_MOBILENET + STANDARD_SUFFIX: Size(4866e6, 29.3e6), _MOBILENET: Size(569e6, 4.2e6)}
)
"""Howard et al. 2017, Table 4: Conv MobileNet and MobileNet."""
_CONVOLUTIONS = {_MOBILENET + STANDARD_SUFFIX: 14, _MOBILENET: 27}  # of them all (Table 1)


class Count(NamedTuple):
    """A network of a run, counted from its layers."""

    network: str
    convolutions: Size
    whole: Size
    """With the classifier, and of parameters a batch norm behind each convolution."""


def counts(run: Run) -> list[Count]:
    """Both networks, the standard one first; none where the run has not all layers of both."""
    found = [_count(run, name) for name in PUBLISHED]
    whole = [one for one in found if one is not None]
    return whole if len(whole) == len(PUBLISHED) else []


def _count(run: Run, name: str) -> Count | None:
    cases = run.cases[run.cases["workload"].eq(name).fillna(False)].drop_duplicates("label")
    layers = [
        (ConvProblem.parse(str(problem)), int(times))
        for problem, times in zip(cases["problem"], cases["layer_count"], strict=True)
    ]
    if sum(times for _, times in layers) != _CONVOLUTIONS[name]:
        return None
    convolutions = Size(
        sum(n * p.macs / p.batch_size for p, n in layers),
        sum(n * (math.prod(p.weight_shape) + p.out_channels * p.bias) for p, n in layers),
    )
    classifier, (_, classes) = math.prod(_CLASSIFIER), _CLASSIFIER
    norms = sum(n * _NORM * p.out_channels for p, n in layers)
    whole = Size(
        convolutions.macs + classifier, convolutions.parameters + norms + classifier + classes
    )
    return Count(name, convolutions, whole)


def sentence(found: Sequence[Count]) -> str:
    """How near the paper's four numbers are to what is counted here."""
    published = [PUBLISHED[one.network] for one in found]
    counted = [one.whole for one in found]
    off = max(abs(own / told - 1) for pair in zip(counted, published, strict=True)
              for own, told in zip(*pair, strict=True))  # fmt: skip
    return (
        f"Howard et al. (2017, Table 4) give {formatting.join([one.network for one in found])} "
        f"{_both(_as_published, [size.macs for size in published])} million mult-adds and "
        f"{_both(_as_published, [size.parameters for size in published])} million parameters; "
        "counted here from the layers, with the classifier and batch norms: "
        f"{_both(_millions, [size.macs for size in counted])}, and "
        f"{_both(_millions, [size.parameters for size in counted])}, at most "
        f"{formatting.percent(off)} away."
    )


def _both(write: Callable[[float], str], numbers: Sequence[float]) -> str:
    return formatting.join([write(number) for number in numbers])


def table(found: Sequence[Count]) -> Table:
    """One row a network: published, in convolutions, with all else that has weights."""
    numbers = (
        "mult-adds published", "in convolutions", "with the classifier", "parameters published",
        "of convolutions", "with batch norms and the classifier",
    )  # fmt: skip
    rows = [
        (
            one.network,
            *(
                cell
                for told, of_convolutions, whole in zip(
                    PUBLISHED[one.network], one.convolutions, one.whole, strict=True
                )
                for cell in (_as_published(told), _millions(of_convolutions), _millions(whole))
            ),
        )
        for one in found
    ]
    return Table(("network", *numbers), rows, frozenset(numbers))


def _as_published(number: float) -> str:
    """`4866`, `4.2`: no digit more than the paper has."""
    return f"{number / 1e6:g}"


def _millions(number: float) -> str:
    """`4866.3`, `4.23`: a digit more than the paper has."""
    return f"{number / 1e6:.{1 if number >= 1e8 else 2}f}"
