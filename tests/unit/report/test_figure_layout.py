"""Figures of small, usual and extreme runs: no text is cut, overlaps another or is too small."""

import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.harness import page as harness
from convsweep.analysis.model_advice import write_model
from convsweep.problems.problem import ConvProblem
from convsweep.report import build
from convsweep.report.pages import Page
from convsweep.report.plots import Picture
from convsweep.report.plots.axes import panel_figure
from convsweep.report.plots.style import drawing_style, new_figure
from convsweep.results.networks import NETWORKS_TABLE
from convsweep.results.schema import Row
from convsweep.results.store import RunFolder
from tests.support import synthetic_networks
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of
from tests.support.figure_texts import layout_faults, visible_texts
from tests.support.synthetic_directions import in_directions
from tests.support.synthetic_families import FASTER, LAYERS, family_rows
from tests.support.synthetic_implementations import implementation_rows

pytestmark = pytest.mark.usefixtures("unexplored")

RESULTS = Path(__file__).parents[3] / "results"
LONG = "a_backend_of_a_plug_in_with_a_long_name"
PAIR = ("torch_conv", "separable")
MANY = ("torch_conv", *(f"{LONG}_{i}" for i in range(40)))


def in_settings(rows: Iterable[Row]) -> list[Row]:
    rows = [*rows]
    return [
        replace(row, memory_format=memory_format, threads=threads)
        for memory_format, threads in (("contiguous", 1), ("channels_last", 2))
        for row in rows
    ]


def of_network(name: str, problems: Iterable[ConvProblem], **how: object) -> list[Row]:
    return [
        replace(row, workload=name, layer=f"features.{name}.{i}.conv", layer_count=i + 1)
        for i, problem in enumerate(problems)
        for row in made.rows([problem], passes=2, **how)
    ]


def many_axes() -> list[Row]:
    problems = [
        made.square(c, s, k, batch_size=n, stride=t, bias=bias)
        for c in (3, 24, 1000) for s in (7, 224) for k in (1, 3, 11)
        for n, t, bias in ((1, 1, False), (128, 2, True))
    ]  # fmt: skip
    return made.rows(problems, backends=PAIR, passes=2)


def directions() -> list[Row]:
    sizes = [replace(p, batch_size=n) for n in (1, 8) for p in made.grid((8, 128), (14, 28), (3,))]
    rows = study_of.traced(study_of.rows(sizes, passes=2))
    half = [replace(row, dtype="bfloat16", memory_format="channels_last") for row in rows]
    return in_directions(half, ("forward", "backward_weight")) + rows


def volumes() -> list[Row]:
    problems = [
        ConvProblem(c, 2 * c, (s, s, 16), (3, 5, 7), padding=(1, 2, 3), dilation=(1, 1, 1))
        for c in (1, 64, 1024) for s in (7, 56)
    ]  # fmt: skip
    return study_of.rows(problems)


def forty_panels() -> list[Row]:
    return [
        row
        for device in ("cpu", "cuda")
        for row in made.rows(made.grid((4, 64), (7,), (3,)), backends=MANY, passes=2, device=device)
    ]


def long_names() -> list[Row]:
    problems = made.grid((4, 64), (7, 56), (3,))
    on_grid = made.rows(problems, backends=MANY[:15], passes=2)
    return on_grid + of_network(f"network_{LONG}", problems, backends=MANY[:15])


def whole_networks() -> list[Row]:
    """Training steps at two batch sizes."""
    found = [row for size in (1, 8) for row in synthetic_networks.rows(batch_size=size)]
    return [replace(row, direction="training") for row in found]


def fifteen_networks() -> list[Row]:
    layers = [made.square(c, 56, 3) for c in (16, 64)]
    names = [f"network_{LONG}_{i}" for i in range(15)]
    return [row for name in names for row in of_network(name, layers, backends=PAIR)]


def families_of_long_names() -> list[Row]:
    longer = {name: f"{LONG}_{name}" for name in FASTER}
    return [
        replace(row, backend=longer.get(row.backend, row.backend))
        for row in family_rows(LAYERS | {f"{LONG}.{i}": (1, made.square(8 * i, 28, 3))
                                         for i in range(1, 9)}, passes=2)
    ]  # fmt: skip


def wide_range() -> list[Row]:
    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        return 1e-9 * problem.macs ** (1.3 if backend == "separable" else 0.9)

    return made.rows(made.grid((1, 4096), (1, 512), (3, 31)), backends=PAIR, seconds=seconds)


def many_cells() -> list[Row]:
    channels = [2**power for power in range(12)]
    return made.rows(made.grid(channels, range(7, 7 + 14), (3,)), backends=PAIR, passes=1)


def many_implementations() -> list[Row]:
    problems = [
        ConvProblem(c, 3 * c, (s, s + 1, 16), 3) for c in range(1, 15) for s in range(7, 20)
    ]
    return implementation_rows(
        problems, passes=1, choose=lambda p, form: f"void a_kernel<{LONG * 4}> of {p.in_channels}"
    )


RUNS: dict[str, Callable[[], list[Row]]] = {
    "one case": lambda: made.rows([made.square(8, 7, 3)], backends=("torch_conv",), passes=1),
    "all but one skipped": lambda: made.rows(
        made.grid((4, 16), (7,)),
        passes=1,
        judge=lambda p, b, _: ("ok" if (b, p.macs) == ("torch_conv", 784) else "skipped", "no"),
    ),
    "one pair": lambda: made.rows([made.square(8, 7, 3)], backends=PAIR, passes=2, noise=1.0),
    "one layer": lambda: of_network("net", [made.square(8, 7, 3)], backends=PAIR),
    "network": made.network,
    "usual": lambda: study_of.rows(made.grid((8, 32, 128), (14, 28, 56), (3, 5))),
    "two settings": lambda: in_settings(study_of.rows(made.grid((8, 128), (14, 28), (3,)))),
    "traced": lambda: study_of.traced(
        in_settings(study_of.rows(made.grid((8, 32, 128), (14, 28), (3,)), passes=2, noise=0.2))
    ),
    "traced layer": lambda: study_of.traced(study_of.rows([made.square(8, 7, 3)], passes=1)),
    "directions": directions,
    "whole networks": whole_networks,
    "families": families_of_long_names,
    "many axes": many_axes,
    "many cells": many_cells,
    "volumes": volumes,
    "implementations": lambda: implementation_rows(passes=1),
    "many implementations": many_implementations,
    "forty panels": forty_panels,
    "long names": long_names,
    "fifteen networks": fifteen_networks,
    "wide range": wide_range,
    "model": lambda: of_network("mine", made.grid((8, 64), (7, 56), (1, 3)), backends=PAIR),
    "large model": lambda: of_network(LONG, made.grid((8, 64), range(9, 20), (3,)), backends=PAIR),
}
EMPTY = {"one case", "all but one skipped"}


def drawn(run: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """Return the pictures of a run's report, without writing it."""
    pages: list[Page] = []
    monkeypatch.setattr(build, "write_pages", lambda out, page: pages.append(page) or out)
    build.write_report(run, out)
    return [*pages[0].pictures]


def check(name: str, pictures: list[Picture]) -> None:
    """Check texts in and around the pictures; print how many they are."""
    found = {picture.name: layout_faults(picture.figure) for picture in pictures}
    texts = sum(len(visible_texts(picture.figure)) for picture in pictures)
    print(f"{name}: {len(pictures)} figures, {texts} texts")  # noqa: T201
    faults = {picture: of_picture for picture, of_picture in found.items() if of_picture}
    assert not faults, json.dumps(faults, indent=1)
    for picture in pictures:
        assert len(picture.title) <= 90
        assert len(picture.alt) > 20
        assert len(picture.caption.split()) <= 25
        assert ". " not in picture.caption


@pytest.mark.parametrize("name", RUNS)
def test_every_text_of_a_run_has_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    run = made.write(tmp_path / "run", RUNS[name](), made.ENVIRONMENT)
    if "model" in name:
        write_model(RunFolder(run), {"name": f"{LONG}:{LONG}"})
    if name == "whole networks":
        table = NETWORKS_TABLE.open(run)
        for name, size in itertools.product(synthetic_networks.LAYERS, (1, 8)):
            table.append(*synthetic_networks.inside(name, batch_size=size, backward=0.6))
        table.close()
    pictures = drawn(run, tmp_path / "out", monkeypatch)
    assert bool(pictures) == (name not in EMPTY)
    check(name, pictures)


def test_every_text_of_the_accuracy_study_has_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    check("accuracy", drawn(RESULTS / "accuracy", tmp_path / "out", monkeypatch))


def test_every_text_of_the_harness_report_has_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    found: list[str] = []
    monkeypatch.setattr(harness, "png", lambda figure: found.extend(layout_faults(figure)) or b"")
    harness.write_page(RESULTS / "harness", tmp_path)
    assert len([*(tmp_path / "figures").iterdir()]) == 3
    assert not found


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 40])
def test_titles_of_any_number_of_panels_have_room(number: int):
    with drawing_style():
        names = [f"kernel 3x3, separable weight, input {i}x{i}" for i in range(number)]
        figure, _ = panel_figure(names, "input channels", "time per call", each=2.7, more=1.3)
    assert layout_faults(figure) == []


def faults_of(*texts: tuple[float, float, str], **how: object) -> list[str]:
    with drawing_style():
        figure = new_figure(2)
        for x, y, text in texts:
            figure.text(x, y, text, **how)
    return [fault.partition(":")[0] for fault in layout_faults(figure)]


def test_faults_are_found():
    titles = [(0.1, 0.5, "kernel 3x3, separable weight, input 7x7"), (0.4, 0.5, "kernel 3x3")]
    assert faults_of(*titles, fontsize=10) == ["overlap"]
    assert faults_of((0.9, 0.5, "a title that is cut at the edge")) == ["outside"]
    assert faults_of((0.1, 0.5, "small"), fontsize=7.9) == ["below 8 points"]
    tilted = [(0.1, 0.3, "torch_prepacked"), (0.14, 0.3, "winograd_numba")]
    assert faults_of(*tilted, rotation=35) == []  # their upright boxes overlap
    assert faults_of(*tilted, rotation=5) == ["overlap"]
