"""What the files of a run say of a model: its layers' costs, and how much of it they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convsweep.analysis.model_savings import LayerCost, layer_costs, layers_table
from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.results import store
from convsweep.results.request_info import read_request_info

if TYPE_CHECKING:
    from pandas import DataFrame


class Model(NamedTuple):
    """What environment.json tells of the model."""

    name: str
    inputs: Sequence[str]
    convolutions: int
    macs: int
    """Of one call: convolutions, matrix products and attention."""
    unmeasured: Sequence[tuple[str, int, int]]
    """Convolutions that can't be measured: why, how many, their MACs."""
    really_run: bool
    other_dtypes: Mapping[str, int]
    """How many convolutions the model runs in a dtype that they were not measured in."""


class Advice(NamedTuple):
    """All that can be told of a model."""

    run: Run
    layers: Sequence[LayerCost]
    model: Model | None
    """None where the run's files don't tell."""

    @property
    def is_timed(self) -> bool:
        """Whether the baseline has timed any layer, without which nothing can be advised."""
        return any(layer.baseline_s.value > 0 for layer in self.layers)


def keep(run_dir: Path, model: Mapping[str, object]) -> None:
    """Add to a run's folder what its model is, and layers.csv, derived from its measurements.

    Args:
        run_dir: the run's folder, measured.
        model: what environment.json is to tell of it.
    """
    environment = store.read_environment(run_dir) | {"model": dict(model)}
    found = advise(store.load(run_dir), environment)
    store.write_environment(run_dir, environment)
    store.write_layers(run_dir, layers_table(found.layers if found else []))


def require_same_model(run_dir: Path, name: str, order: Sequence[str]) -> None:
    """Raise `ValueError` where a run to go on with is of another model, or of another input.

    Args:
        run_dir: the run's folder.
        name: the model's.
        order: the labels of its distinct problems.
    """
    told = store.read_environment(run_dir).get("model")
    before = labels_of(told)
    if isinstance(told, Mapping) and before and (told.get("name"), before) != (name, [*order]):
        raise ValueError("can't resume: the model or --input differs from the run's")


def read_advice(run_dir: Path) -> Advice | None:
    """The advice of a run's files; None where the run is of no model.

    Raises:
        ValueError: in one line, where a file is damaged.
    """
    environment = store.read_environment(run_dir)
    return advise(store.load(run_dir), environment) if "model" in environment else None


def advise(measurements: DataFrame, environment: Mapping[str, Any]) -> Advice | None:
    """What a run says of a model; None where nothing was measured.

    Args:
        measurements: of one setting.
        environment: as the run's folder keeps it.
    """
    asked = read_request_info(environment)
    summary = summarize(measurements, asked.baseline, asked.margin)
    run = read_run(measurements, summary, asked.cases)
    if not run.settings:
        return None
    run = run.within(run.settings[0])
    told = environment.get("model")
    order = dict.fromkeys([*labels_of(told), *measurements["problem"]])
    return Advice(run, layer_costs(run, [*order]), _model(told))


def labels_of(told: object) -> list[str]:
    """The labels of the model's distinct problems, in its order; none where that is not told."""
    found = told.get("layers") if isinstance(told, Mapping) else None
    return [*map(str, found)] if isinstance(found, list) else []


def _model(told: object) -> Model | None:
    """The model that environment.json tells of, which anyone may have edited."""
    try:
        assert isinstance(told, Mapping)
        others = told.get("other_dtypes", {})
        unmeasured = [(str(x["why"]), int(x["count"]), int(x["macs"])) for x in told["unmeasured"]]
        return Model(
            str(told["name"]),
            [*map(str, told["inputs"])],
            int(told["convolutions"]),
            int(told["macs"]),
            unmeasured,
            bool(told["really_run"]),
            {str(dtype): int(number) for dtype, number in others.items()},
        )
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        return None
