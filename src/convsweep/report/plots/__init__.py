"""Figures of a run, drawn with matplotlib from its analysed data."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from convsweep.analysis.run import Run, backends_with_fewer_macs, top_backends
from convsweep.report.plots import devices, heatmap, layers, predicted_speedup, sweeps
from convsweep.report.plots.style import Picture, drawing_style, pictures_by_setting, sentence

MOST_SETTINGS = 6
_MOST_BACKENDS = 8  # in a figure
_MOST_NETWORKS = 2  # that have a figure of their layers
_IMPORTANCE = (
    "model_layers", "network_speedup", "directions", "time_by_channels", "crossover",
    "best_backend_map", "speed_vs_error", "macs_vs_time", "layers_of", "time_by_size", "speedup",
    "accuracy_vs_time", "implementation_map",
)  # fmt: skip
"""First parts of the names of pictures."""


def figures(run: Run) -> list[Picture]:
    """Return the figures of grids and networks, in the order of the report.

    Each of up to six settings (device, dtype, memory format, threads) has its own figures.
    """
    with drawing_style():
        shown = run.cases.loc[run.cases["status"] == "ok", "setting"].unique()[:MOST_SETTINGS]
        drawn = {setting: _of_one_setting(run.within(setting)) for setting in shown}
        top = top_backends(run.for_means, _MOST_BACKENDS)
        by_device = [note_omitted_backends(picture, top, run) for picture in devices.draw(top)]
        return pictures_by_setting(drawn) + by_device


def note_settings(number: int) -> list[str]:
    """Return a sentence on the settings that have no figures of their own, if there are any."""
    if number <= MOST_SETTINGS:
        return []
    return [f"Figures are of the first {MOST_SETTINGS} of {number} settings."]


def leading(pictures: Iterable[Picture], most: int = 2) -> list[Picture]:
    """Return the most important pictures, at most one of each kind."""
    kinds: dict[str, Picture] = {}
    for picture in pictures:
        kinds.setdefault(next(filter(picture.name.startswith, _IMPORTANCE), ""), picture)
    return [kinds[kind] for kind in _IMPORTANCE if kind in kinds][:most]


def _of_one_setting(run: Run) -> Iterator[Picture | None]:
    top = top_backends(run, _MOST_BACKENDS)
    shown, networks = top.for_means, run.cases["network"].dropna().unique()
    drawn = [sweeps.draw(shown, sweeps.CHANNELS) or sweeps.draw(shown, sweeps.SIZE)]
    drawn.append(heatmap.draw(shown))
    if len(networks) <= _MOST_NETWORKS:
        drawn += [layers.draw(top, str(network)) for network in networks]
    yield from (picture and note_omitted_backends(picture, top, run) for picture in drawn)
    for name in backends_with_fewer_macs(run.for_means):
        yield predicted_speedup.draw(run.for_means, name)


def note_omitted_backends(picture: Picture, shown: Run, run: Run) -> Picture:
    """Add the number of drawn backends to the caption if some of the run's are missing."""
    caption = sentence(
        picture.caption.removesuffix("."),
        drawn=(len(shown.backends), len(run.backends)),
        noun="backends",
    )
    return replace(picture, caption=caption)
