"""Copies of a model to choose from: one per memory format, its layers on the best backends."""

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from convsweep.analysis.estimates import Interval
from convsweep.models.optimize import gate, layers, selection
from convsweep.models.optimize.deferred import NO_EPILOGUE
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
_SLOWER = "no backend is faster inside the whole model"
_NO_SPEEDUP = Interval(1.0, 1.0, 1.0)


@dataclass
class Candidate:
    """Copy of a model for one memory format."""

    model: nn.Module
    inputs: ModelInputs  # In the memory format
    found: Inventory
    converts: bool = False  # Whether it converts its inputs to channels_last, and its outputs back
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
        there: that backend, the fastest of those that compute norm and ReLU themselves, torch's
        convolution with the norm folded, or all as it was.
        """
        calls, model = self.found.calls, self.model
        after = find_epilogues(model, self.inputs, {layer.name for layer in calls})
        choices: dict[ConvCall, list[selection.LayerBackend]] = {}
        reasons: dict[ConvCall, str] = {}
        for layer in calls:
            epilogue = after.get(layer.name, NO_EPILOGUE)
            choice = selection.select(table, layer, threads)
            reasons[layer] = choice if isinstance(choice, str) else _SLOWER
            own = [] if isinstance(choice, str) else [choice]
            row = selection.fastest_fusing(table, layer, threads) if epilogue.own.steps else None
            if row and row["backend"] not in {one.backend for one in own}:
                own.append(_unmeasured(row["backend"], row["memory_format"], reasons[layer]))
            if epilogue.own.norms and layer.memory_formats:
                own.append(_unmeasured(BASELINE, layer.memory_formats[0], reasons[layer]))
            if epilogue.pointwise is not None and layer.memory_formats:
                memory_format = layer.memory_formats[0]
                own += [_unmeasured(n, memory_format) for n in selection.fusing(table.asked)]
            if own:
                choices[layer] = own
        found, failed = gate.validate_layers(model, self.inputs, choices, calls, after, max_error)
        reasons |= failed
        proven = ([x for x in own if x.choice.is_proven and not x.pointwise] for own in found)
        validated = [own[0] for own in proven if own]
        if timing_s and layers_fit(model, self.inputs, timing_s, _versions(found)):
            validated = self._fastest(found, threads, timing_s)
            reasons |= {own[0].call: _SLOWER for own in found}
        replaced = {one.call for one in validated}
        fused = {one.pointwise for one in validated}
        self.skipped += [
            SkippedLayer(layer.name, calls[layer], reason)
            for layer, reason in reasons.items()
            if layer not in replaced and layer.name not in fused
        ]
        _install(model, validated, threads)
        if self.converts:
            convert_inside(model)
        self.replaced, restored, self.error = gate.validate_model(model, expected, validated)
        self.skipped += [*self.found.skipped, *restored]

    def _fastest(
        self, found: list[list[gate.ValidatedLayer]], threads: int, seconds: float
    ) -> list[gate.ValidatedLayer]:
        """Return each layer on its fastest backend inside the model, if that is not torch's own.

        Timed are the plain model, one on the first backends of all layers, one on the second and so
        on, and one in which depthwise and 1x1 convolutions are fused.
        """
        alone = [[one for one in own if not one.pointwise] for own in found]
        pairs = [own[-1] for own in found if own[-1].pointwise]
        fused = {name for pair in pairs for name in pair.names}
        names = {layer.name for layer in self.found.calls}
        inside = {pair.pointwise for pair in pairs}  # has no time of its own
        nth = [[*filter(None, those)] for those in zip_longest(*alone)]
        with_pairs = [*(own[0] for own in alone if own and own[0].name not in fused), *pairs]
        models = []
        for chosen in ([], *nth, *([with_pairs] if pairs else [])):
            _install(self.model, chosen, threads)
            models.append(copy_model(self.model, shares_tensors=True))
            layers.restore_all(self.model)
        own_names = [names] * (1 + len(nth)) + [names - inside] * bool(pairs)
        plain_s, *timed = layer_times(models, own_names, self.inputs, seconds)
        best = {name: (plain_s.get(name, math.inf), 0) for name in names}
        for index, (version, taken) in enumerate(zip(nth, timed, strict=False), 1):
            for one in version:
                best[one.name] = min(best[one.name], (taken.get(one.name, math.inf), index))
        calls = Counter[str]()
        for layer, number in self.found.calls.items():
            calls[layer.name] += number

        def inside_model(one: gate.ValidatedLayer) -> gate.ValidatedLayer:
            share = one.calls / calls[one.name]
            return one.timed(share * best[one.name][0], share * plain_s[one.name])

        chosen = [
            one if one.choice.is_proven else inside_model(one)
            for index, version in enumerate(nth, 1)
            for one in version
            if best[one.name][1] == index
        ]
        for pair in pairs:
            taken_s = timed[-1].get(pair.name, math.inf)
            if taken_s < sum(best[name][0] for name in pair.names):
                before_s = sum(plain_s.get(name, math.nan) for name in pair.names)
                chosen = [one for one in chosen if one.name not in pair.names]
                chosen.append(pair.timed(taken_s, before_s))
        order = [*self.found.calls]
        return sorted(chosen, key=lambda one: order.index(one.call))


def _versions(found: list[list[gate.ValidatedLayer]]) -> int:
    """Return the number of versions of a model whose layers are timed."""
    alone = (sum(not one.pointwise for one in own) for own in found)
    return 1 + max(alone, default=0) + any(own[-1].pointwise for own in found)


def _unmeasured(name: str, memory_format: str, reason: str = "") -> selection.LayerBackend:
    """Return a backend without a time of the layer alone."""
    return selection.LayerBackend(name, memory_format, 0.0, _NO_SPEEDUP, reason)


def _install(model: nn.Module, validated: list[gate.ValidatedLayer], threads: int) -> None:
    """Replace the modules of validated layers, and those that follow them."""
    modules = dict(model.named_modules())
    dispatches: dict[str, Dispatch] = {}
    for one in validated:
        name, choice = one.name, one.choice
        if name not in dispatches:
            dispatches[name] = Dispatch(threads, this_machine(), epilogue=one.epilogue)
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
