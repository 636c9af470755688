"""Copies of a model to choose from: one per memory format, its layers on the best backends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from convsweep.analysis.estimates import Interval
from convsweep.models.optimize import gate, layers, selection
from convsweep.models.optimize.deferred import NO_EPILOGUE, Epilogue
from convsweep.models.optimize.dispatch import BackendChoice, Dispatch, this_machine
from convsweep.models.optimize.epilogues import find_epilogues
from convsweep.models.optimize.layer_inventory import (
    ConvCall,
    Inventory,
    ModelInputs,
    SkippedLayer,
    copy_model,
    inventory,
)
from convsweep.models.optimize.speedup import layer_times, layers_fit
from convsweep.results.schema import BASELINE

CHANNELS_LAST = "channels_last"


@dataclass
class Candidate:
    """Copy of a model for one memory format."""

    model: nn.Module
    inputs: ModelInputs
    """In the memory format."""
    found: Inventory
    converts: bool = False
    """Whether it converts its inputs to channels_last, and its outputs back."""
    replaced: list[gate.ValidatedLayer] = field(default_factory=list)
    skipped: list[SkippedLayer] = field(default_factory=list)
    error: gate.ModelError | None = None

    def optimize(
        self,
        table: selection.BackendTable,
        expected: gate.ModelReference,
        max_error: float | None,
        threads: int,
        timing_s: float,
    ) -> None:
        """Replace layers that the table has a faster backend for, or whose batch norm folds.

        If `timing_s` seconds suffice to time all layers inside the model, they get what is fastest
        there: that backend, torch's convolution with the norm folded, or all as it was.
        """
        calls, model = self.found.calls, self.model
        after = find_epilogues(model, self.inputs, {layer.name for layer in calls})
        choices: dict[ConvCall, list[selection.LayerBackend]] = {}
        for layer, number in calls.items():
            choice = selection.select(table, layer, threads)
            folded = _folded(layer) if after.get(layer.name, NO_EPILOGUE).norm else None
            own = [one for one in (choice, folded) if isinstance(one, selection.LayerBackend)]
            if own:
                choices[layer] = own
            elif isinstance(choice, str):
                self.skipped.append(SkippedLayer(layer.name, number, choice))
        found, failed = gate.validate_layers(model, self.inputs, choices, calls, after, max_error)
        validated = [first for first, *_ in found]
        if found and timing_s and layers_fit(model, self.inputs, timing_s):
            folds = [one[-1] for one in found if one[-1].choice.backend == BASELINE]
            versions = []
            for chosen in ([], folds, validated):
                _install(model, chosen, after, threads)
                versions.append(copy_model(model))
                layers.restore_all(model)
            validated = self._fastest(versions, found, timing_s)
        _install(model, validated, after, threads)
        if self.converts:
            convert_inside(model)
        self.replaced, restored, self.error = gate.validate_model(model, expected, validated)
        self.skipped += [*self.found.skipped, *failed, *restored]

    def _fastest(
        self,
        versions: list[nn.Module],
        found: list[list[gate.ValidatedLayer]],
        seconds: float,
    ) -> list[gate.ValidatedLayer]:
        """Return each layer on its fastest backend inside the model, if that is not torch's own.

        `versions` are the plain model, one with folded batch norms, and one on the first backends.
        """
        names = {layer.name for layer in self.found.calls}
        measured = layer_times(versions, names, self.inputs, seconds)
        chosen = []
        for own in found:
            name = own[0].name
            plain, folded, first = (times.get(name, math.inf) for times in measured)
            if first < min(plain, folded):
                chosen.append(own[0])
            elif own[-1].choice.backend == BASELINE and folded < plain:
                chosen.append(own[-1])
            else:
                reason = "no backend is faster inside the whole model"
                self.skipped.append(SkippedLayer(name, own[0].calls, reason))
        return chosen


def _folded(layer: ConvCall) -> selection.LayerBackend | None:
    """Return torch's own convolution, which computes with folded weights; None for a view."""
    if not layer.memory_formats:
        return None
    return selection.LayerBackend(BASELINE, layer.memory_formats[0], 0.0, Interval(1.0, 1.0, 1.0))


def _install(
    model: nn.Module,
    validated: list[gate.ValidatedLayer],
    epilogues: Mapping[str, Epilogue],
    threads: int,
) -> None:
    """Replace the modules of validated layers, and those that follow them."""
    modules = dict(model.named_modules())
    dispatches: dict[str, Dispatch] = {}
    for one in validated:
        name, choice = one.name, one.choice
        if name not in dispatches:
            after = epilogues.get(name, NO_EPILOGUE)
            dispatches[name] = Dispatch(threads, this_machine(), epilogue=after)
            layers.replace(modules[name], dispatches[name])
        dispatches[name].choices[one.call.key] = BackendChoice(
            choice.backend, one.geometry, choice.memory_format
        )
    layers.replace_following(model)


def candidates(model: nn.Module, inputs: ModelInputs, every_format: bool) -> list[Candidate]:
    """Return the model for its inputs as they are, and a copy for channels_last ones if it differs.

    Raises:
        ValueError: the model cannot take the inputs, or executes no convolution.
    """
    found = [Candidate(model, inputs, inventory(model, inputs))]
    if every_format and any(layer.problem.rank == 2 for layer in found[0].found.calls):
        own, rows = copy_model(model), inputs.mapped(to_channels_last)
        other = Candidate(own, rows, inventory(own, rows), converts=True)
        if other.found.calls.keys() != found[0].found.calls.keys():
            found.append(other)
    return found


def to_channels_last(value: Any) -> Any:
    """Return a value in which all floating (N, C, H, W) tensors are channels_last."""
    return tree_map(lambda x: _converted(x, torch.channels_last), value)


def convert_inside(model: nn.Module) -> None:
    """Let a model compute in channels_last; its outputs are contiguous."""
    model.register_forward_pre_hook(_enter, with_kwargs=True)
    model.register_forward_hook(_leave)


def undo_conversion(model: nn.Module) -> None:
    """Remove the conversions of `convert_inside`, if there are any."""
    own: Any
    for own, hook in ((model._forward_pre_hooks, _enter), (model._forward_hooks, _leave)):
        for key in [key for key, one in own.items() if one is hook]:
            del own[key]
            model._forward_pre_hooks_with_kwargs.pop(key, None)


def _enter(module: nn.Module, arguments: Any, keywords: Any) -> Any:
    return to_channels_last((arguments, keywords))


def _leave(module: nn.Module, arguments: Any, output: Any) -> Any:
    return tree_map(lambda x: _converted(x, torch.contiguous_format), output)


def _converted(x: Any, memory_format: torch.memory_format) -> Any:
    is_image = isinstance(x, Tensor) and x.dim() == 4 and x.is_floating_point()
    return x.contiguous(memory_format=memory_format) if is_image else x
