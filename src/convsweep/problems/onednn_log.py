"""Lines that oneDNN prints about its primitives (`ONEDNN_VERBOSE=1`)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_EXECUTED = re.compile(r"(?:dnnl|onednn)_verbose,(?:v\d+,)?(?:[\d.]+,)?(?:primitive,)?exec,(.+)")
_CELLS = 9


class Primitive(NamedTuple):
    """One execution of a primitive."""

    kind: str  # Such as `convolution`, `reorder`
    implementation: str  # Such as `jit_dw:avx512_core`, or `jit:avx2:backward_data` of a gradient
    memory: str  # Data types and layouts of its tensors
    shape: str  # Such as `1x16x28x28` of a reorder; of others in the notation of benchdnn
    seconds: float


def parse_verbose(line: str) -> Primitive | None:
    """Return the primitive that a line of oneDNN 2 or 3 reports as executed, else None."""
    match = _EXECUTED.match(line)
    cells = match[1].split(",") if match else []
    if len(cells) != _CELLS:
        return None
    _, kind, implementation, prop_kind, memory, _, _, shape, milliseconds = cells
    if prop_kind.startswith("backward"):
        implementation += f":{prop_kind}"
    try:
        return Primitive(kind, implementation, memory, shape, float(milliseconds) / 1e3)
    except ValueError:  # of a version to come
        return None


def primitives_in(lines: Iterable[str]) -> list[Primitive]:
    """Return the primitives that oneDNN executed, in their order."""
    return [primitive for primitive in map(parse_verbose, lines) if primitive]
