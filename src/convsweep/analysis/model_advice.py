"""Advice on a model from the files of its run: costs of its layers, and how much they cover."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pandas import DataFrame

from convsweep.analysis.model_savings import LayerCost, layer_costs, layers_table
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.results import store
from convsweep.results.store import RunFolder, read_request_info


class Model(NamedTuple):
    """Description of the model in environment.json."""

    name: str
    convolutions: int
    macs: int  # MACs of one call: convolutions, matrix products and attention
    unmeasured: Sequence[tuple[str, int, int]]
    """Convolutions that cannot be measured: reason, number, MACs."""
    other_dtypes: Mapping[str, int]
    """Number of convolutions that the model runs in a dtype other than the measured one."""
    warnings: Sequence[str] = ()  # Sentences on the model that its layers' times do not show


class Advice(NamedTuple):
    """Costs of the layers of a model, in one setting."""

    run: Run
    layers: Sequence[LayerCost]
    model: Model | None  # None if the run has no readable description

    @property
    def is_timed(self) -> bool:
        """Whether the baseline has a time for at least one layer."""
        return any(layer.baseline_s.value > 0 for layer in self.layers)


def write_model(folder: RunFolder, model: Mapping[str, object]) -> Advice | None:
    """Add the model to environment.json of a measured run and write layers.csv."""
    environment = folder.environment | {"model": dict(model)}
    advice = compute_advice(folder.measurements, environment)
    store.write_environment(folder.path, environment)
    store.write_table(folder.path / store.LAYERS, layers_table(advice.layers if advice else []))
    return advice


def require_same_model(run_dir: Path, name: str, labels: Sequence[str]) -> None:
    """Check that a run to resume has the model `name` with problems of these labels.

    Raises:
        ValueError: the run has another model or input.
    """
    stored = store.read_environment(run_dir).get("model")
    if not isinstance(stored, Mapping) or not (before := _labels(stored)):
        return
    if (stored.get("name"), before) != (name, [*labels]):
        raise ValueError("can't resume: the model or --input differs from that of the run")


def read_advice(folder: RunFolder) -> Advice | None:
    """Return the advice of a run; None if the run has no model.

    Raises:
        ValueError: a file is damaged.
    """
    environment = folder.environment
    return compute_advice(folder.measurements, environment) if "model" in environment else None


def compute_advice(measurements: DataFrame, environment: Mapping[str, Any]) -> Advice | None:
    """Return the costs of the layers in the first setting; None if nothing was measured."""
    request = read_request_info(environment)
    summary = summarize(measurements, request.baseline, request.margin)
    run = read_run(measurements, summary, request.cases)
    if not run.settings:
        return None
    run = run.within(run.settings[0])
    stored = environment.get("model")
    order = dict.fromkeys([*_labels(stored), *measurements["problem"]])
    return Advice(run, layer_costs(run, [*order]), _read_model(stored))


def _labels(stored: object) -> list[str]:
    """Return the labels of the model's distinct problems, in its order; empty if unknown."""
    labels = stored.get("layers") if isinstance(stored, Mapping) else None
    return [*map(str, labels)] if isinstance(labels, list) else []


def _read_model(stored: object) -> Model | None:
    """Return the model of environment.json, which may be edited; None if it is not readable."""
    try:
        assert isinstance(stored, Mapping)
        others = stored.get("other_dtypes", {})
        return Model(
            str(stored["name"]),
            int(stored["convolutions"]),
            int(stored["macs"]),
            [(str(x["why"]), int(x["count"]), int(x["macs"])) for x in stored["unmeasured"]],
            {str(dtype): int(number) for dtype, number in others.items()},
            [*map(str, stored.get("warnings", []))],
        )
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        return None
