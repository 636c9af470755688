"""Problems and layers that the options of a sweep choose."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from convsweep.problems.axes import parse_axis, span
from convsweep.problems.grids import GRIDS, Grid
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer, read_problems, workloads
from convsweep.sweep.choices import choose_each, choose_one

DEFAULT_GRID = "quick"


def choose_layers(
    chosen: Mapping[str, Any],
    model: tuple[str, Sequence[Layer]] | None,
    layer: str | None,
    batch_sizes: Sequence[int],
) -> tuple[str, Sequence[Layer], Grid]:
    """Return a name, the layers, and the grid with their passes, time limit and settings.

    `chosen` are the options that name problems. Raises `ValueError` if one is wrong, or two given.
    """
    given = [option for option, value in chosen.items() if value or value == ""]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} exclude each other; choose one")
    plain = Grid("", (), separable_parts=True)
    if model:
        name, layers = model
    elif chosen["--workload"]:
        names = choose_each("workload", chosen["--workload"], workloads())
        name, layers = "+".join(names), [x for name in names for x in workloads()[name]]
    elif problems := chosen["--problems"]:
        found = read_problems(problems)
        name, layers = problems.stem, list(dict.fromkeys(found.layers))
        dtype, direction = found.dtype or plain.dtypes[0], found.direction or plain.directions[0]
        plain = replace(plain, dtypes=(dtype,), directions=(direction,))
    elif labels := chosen["--problem"]:
        name, layers = "problem", [Layer(ConvProblem.parse(label)) for label in labels]
    elif axes := chosen["--axis"]:
        name, layers = "axes", [Layer(one) for one in span([parse_axis(text) for text in axes])]
    else:
        grid = chosen["--grid"]
        name = choose_one("grid", DEFAULT_GRID if grid is None else grid, GRIDS)
        layers, plain = GRIDS[name].layers(), GRIDS[name]
    layers = layers if layer is None else _named(layers, layer)
    layers = _at_batch_sizes(layers, batch_sizes, chosen["--axis"]) if batch_sizes else layers
    return name, layers, plain


def _named(layers: Sequence[Layer], name: str) -> list[Layer]:
    if found := [layer for layer in layers if layer.name == name]:
        return found
    names = ", ".join(dict.fromkeys(layer.name for layer in layers if layer.name))
    known = f"there are: {names}" if names else "the problems have no named layers"
    raise ValueError(f"unknown layer {name!r}; {known}")


def _at_batch_sizes(
    layers: Sequence[Layer], sizes: Sequence[int], axes: Sequence[str]
) -> list[Layer]:
    """Return each layer at each batch size; raise `ValueError` if an axis has others."""
    if any(parse_axis(text)[0] == "batch_size" for text in axes):
        raise ValueError("--batch-size and --axis batch_size exclude each other; choose one")
    pairs = itertools.product(sizes, layers)
    found = (replace(one, problem=replace(one.problem, batch_size=size)) for size, one in pairs)
    return [*dict.fromkeys(found)]
