"""Copies of a model to choose from: one per memory format, its layers on the best backends."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from convsweep.analysis.estimates import Interval
from convsweep.models.optimize import gate, layers, selection
from convsweep.models.optimize.deferred import NO_EPILOGUE
from convsweep.models.optimize.epilogues import find_epilogues
from convsweep.models.optimize.layer_inventory import (
    ConvCall,
    Inventory,
    ModelInputs,
    SkippedLayer,
    copy_model,
    inventory,
)
from convsweep.models.optimize.layout import convert_inside, to_channels_last
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

        If `timing_s` seconds suffice to time all layers inside the model, those that take as long
        there as torch's own with what follows are restored.
        """
        calls, model = self.found.calls, self.model
        after = find_epilogues(model, self.inputs, {layer.name for layer in calls})
        choices: dict[ConvCall, selection.LayerBackend] = {}
        for layer, number in calls.items():
            choice = selection.select(table, layer, threads)
            if isinstance(choice, str) and after.get(layer.name, NO_EPILOGUE).norm:
                choice = _folded(layer) or choice
            if isinstance(choice, str):
                self.skipped.append(SkippedLayer(layer.name, number, choice))
            else:
                choices[layer] = choice
        validated, failed = gate.validate_layers(
            model, self.inputs, choices, calls, after, max_error
        )
        is_timed = bool(validated) and timing_s and layers_fit(model, self.inputs, timing_s)
        plain = copy_model(model) if is_timed else None
        gate.install(model, validated, after, threads)
        layers.replace_following(model)
        if plain is not None:
            validated = self._faster(plain, validated, timing_s)
        if self.converts:
            convert_inside(model)
        self.replaced, restored, self.error = gate.validate_model(model, expected, validated)
        self.skipped += [*self.found.skipped, *failed, *restored]

    def _faster(
        self, plain: nn.Module, installed: list[gate.ValidatedLayer], seconds: float
    ) -> list[gate.ValidatedLayer]:
        """Restore layers that are not faster inside the model than in `plain`; return the rest."""
        names = {layer.name for layer in self.found.calls}
        before, after = layer_times([plain, self.model], names, self.inputs, seconds)
        slow = {name for name, taken in after.items() if taken >= before.get(name, taken)}
        self.skipped += [
            gate.uninstall(self.model, layer, "no backend is faster inside the whole model")
            for layer in installed
            if layer.name in slow
        ]
        return [layer for layer in installed if layer.name not in slow]


def _folded(layer: ConvCall) -> selection.LayerBackend | None:
    """Return torch's own convolution, which computes with folded weights; None for a view."""
    if not layer.memory_formats:
        return None
    return selection.LayerBackend(BASELINE, layer.memory_formats[0], 0.0, Interval(1.0, 1.0, 1.0))


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
