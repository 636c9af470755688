"""Layers let in one by one, each on its own real input, and then held together to the original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from convsweep.models.optimize.gate import LayerError, WholeError, WholeTruth, gate_layer
from convsweep.models.optimize.geometry import geometry, key_of, memory_formats
from convsweep.models.optimize.layer_inventory import ConvCall, Example, Skipped, call, watching
from convsweep.models.optimize.layers import Choice, Dispatch, replace, replaced, restore
from convsweep.models.optimize.machine import here
from convsweep.models.optimize.selection import Pick


@dataclass(frozen=True)
class ValidatedModel:
    """One module on one input, on another backend."""

    layer: ConvCall
    calls: int
    pick: Pick
    error: LayerError


def admit(
    model: nn.Module,
    example: Example,
    picks: Mapping[ConvCall, Pick],
    calls: Mapping[ConvCall, int],
    max_error: float | None,
) -> tuple[list[ValidatedModel], list[Skipped]]:
    """Hold every picked backend to its layer's real input, in one call of the model.

    Args:
        model: in evaluation mode, its convolutions torch's own.
        example: what it is called with.
        picks: what the table says.
        calls: how often each layer is called.
        max_error: the largest relative error of a layer, if there is one.

    Returns:
        What passed, and what did not and why, in the model's order.
    """
    found: dict[ConvCall, LayerError | str] = {}

    def hold(name: str, module: nn.Module, x: Tensor) -> None:
        own = geometry(module, x.shape)
        if own is None:
            return
        layer = ConvCall(name, own.problem, key_of(x), tuple(memory_formats(x)))
        if layer in picks and layer not in found:
            found[layer] = gate_layer(module, own, x, picks[layer].backend, max_error)

    modules = dict(model.named_modules())
    with watching(modules, {layer.name for layer in picks}, hold):
        call(model, example)
    admitted = [
        ValidatedModel(layer, calls[layer], picks[layer], error)
        for layer, error in found.items()
        if not isinstance(error, str)
    ]
    left = [Skipped(x.name, calls[x], why) for x, why in found.items() if isinstance(why, str)]
    return admitted, left


def install(model: nn.Module, admitted: list[ValidatedModel], threads: int) -> None:
    """Replace the modules of the layers that were admitted."""
    modules = dict(model.named_modules())
    dispatches: dict[str, Dispatch] = {}
    for one in admitted:
        module: Any = modules[one.layer.name]
        own = geometry(module, one.layer.key[0])
        assert own is not None, "an admitted layer has been called"
        if one.layer.name not in dispatches:
            dispatches[one.layer.name] = Dispatch(threads, here())
            replace(module, dispatches[one.layer.name])
        choice = Choice(one.pick.backend, own, one.pick.memory_format)
        dispatches[one.layer.name].choices[one.layer.key] = choice


def validate_model(
    model: nn.Module, truth: WholeTruth, admitted: list[ValidatedModel]
) -> tuple[list[ValidatedModel], list[Skipped], WholeError | None]:
    """Take out what is off the most until the whole model is as near to the truth as it should be.

    Returns:
        What stays, what was taken out and why, and how far the whole is off with the rest.
    """
    stay, out = list(admitted), list[Skipped]()
    while stay:
        whole = truth.hold(model, max(one.error.growth for one in stay))
        if whole.passes:
            return stay, out, whole
        worst = max(stay, key=lambda one: one.error.growth)
        stay.remove(worst)
        _take_out(model, worst.layer)
        why = (
            f"with {worst.pick.backend} the whole model is off by {whole.optimized:.1e}, more "
            f"than {whole.allowed:.1e}"
        )
        out.append(Skipped(worst.layer.name, worst.calls, why))
    return stay, out, None


def _take_out(model: nn.Module, layer: ConvCall) -> None:
    """Let one input of a module be torch's again, and the module where it was the last."""
    dispatch = replaced(model)[layer.name]
    del dispatch.choices[layer.key]
    if not dispatch.choices:
        restore(model.get_submodule(layer.name))
