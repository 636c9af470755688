"""Implementations that a library chose: their short names, and where each one runs."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from pandas import DataFrame

from convsweep.analysis.run import Run
from convsweep.formatting import compact

_HOST = re.compile(
    r"aten::(mkldnn|convolution_backward)|mkldnn\w*::"
)  # operators that run primitives of oneDNN
_INSTRUCTION_SET = re.compile(r":((?:sse|avx|amx|sve|asimd|neon|vsx)\w*)")
METHODS = {
    r"slow_conv2d": "PyTorch: im2col and product",
    r"jit": "oneDNN: direct",
    r"jit_dw": "oneDNN: direct depthwise",
    r"brg_?conv(_fwd)?": "oneDNN: batch-reduced products",
    r"brdgmm_dw": "oneDNN: batch-reduced depthwise",
    r"slow_conv_dilated\dd": "PyTorch: im2col and product",
    r"(x64:)?gemm:jit": "oneDNN: im2col and product",
    r"jit_1x1": "oneDNN: direct 1x1",
    r"brgconv_1x1": "oneDNN: batch-reduced products",
}
"""Library and method of the most frequent short names."""


class Implementations(NamedTuple):
    """Implementations of one backend."""

    backend: str
    cases: DataFrame
    """Its cases with a known implementation; `kind` and `method` are added, `name` is short."""
    instruction_set: str
    """Instruction set of all implementations that name one; empty if they differ."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of cases of each implementation, the most frequent first."""
        return dict(Counter(sorted(self.cases["name"])).most_common())


def read_implementations(run: Run) -> Implementations | None:
    """Return those of the baseline or else the backend with most; None if none has several.

    There must also be several numbers of channels and sizes.
    """
    known = run.cases[run.cases["implementation"].notna()]
    axes = ["implementation", "in_channels", "input_size"]
    values = known.groupby("backend")[axes].nunique()
    numbers = values.loc[values.min(axis=1) > 1, "implementation"]
    if numbers.empty:
        return None
    backend = run.baseline if run.baseline in numbers else str(numbers.idxmax())
    own = known[known["backend"] == backend]
    names, instruction_set = short_names([*own["implementation"].unique()])
    several = own["batch_size"].nunique() > 1
    kinds = [_kind(row, several) for row in own.to_dict("records")]
    own = own.assign(name=own["implementation"].map(names), kind=kinds)
    cases = own.assign(method=[METHODS.get(family(name), "") for name in own["name"]])
    return Implementations(backend, cases, instruction_set)


def short_names(names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Return a distinct short name per implementation, and the instruction set that all share.

    `aten::mkldnn_convolution + jit_dw:avx2` becomes `jit_dw`, and `aten::_slow_conv2d_forward`
    `slow_conv2d`. If instruction sets differ, they stay in the names.
    """
    sets = {found for name in names for found in _INSTRUCTION_SET.findall(name)}
    shared = sets.pop() if len(sets) == 1 else ""
    short = {name: _shorten(name.replace(f":{shared}", "") if shared else name) for name in names}
    taken = Counter(short.values())
    return {name: own if taken[own] == 1 else name for name, own in short.items()}, shared


def _shorten(name: str) -> str:
    parts = name.split(" + ")
    chosen = [part for part in parts if not _HOST.match(part)] or parts
    return " + ".join(re.sub(r"^aten::_?|_forward$", "", part) for part in chosen)


def family(name: str) -> str:
    """Return the key of `METHODS` of an implementation; empty if it has none."""
    short = _shorten(_INSTRUCTION_SET.sub("", name))
    return next((pattern for pattern in METHODS if re.fullmatch(pattern, short)), "")


def _kind(case: dict[Any, Any], several_batches: bool) -> str:
    """Return `3x3`, `3x3, depthwise`, or `3x3, stride 2, dilation 2, 4 groups, batch 8`."""
    stride, dilation, groups = compact(case["stride"]), compact(case["dilation"]), case["groups"]
    words = {
        f"stride {stride}": stride != "1",
        f"dilation {dilation}": dilation != "1",
        "depthwise" if groups == case["in_channels"] else f"{groups} groups": groups > 1,
        f"batch {case['batch_size']}": several_batches or case["batch_size"] > 1,
        "transposed": bool(pd.notna(case["output_padding"])),
    }
    return ", ".join([case["kernel_size"], *(word for word, holds in words.items() if holds)])
