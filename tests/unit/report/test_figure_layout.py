"""Figures of small, usual and extreme runs: no text is cut or overlaps another one."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.problems.problem import ConvProblem
from convsweep.report import build
from convsweep.report.pages import Page
from convsweep.report.plots.style import drawing_style
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of
from tests.support.figure_texts import layout_faults

LONG = "a_backend_of_a_plug_in_with_a_long_name"
PAIR = ("torch_conv", "separable")


def in_settings(rows: Iterable[Row]) -> list[Row]:
    rows = [*rows]
    return [
        replace(row, memory_format=memory_format, threads=threads)
        for memory_format, threads in (("contiguous", 1), ("channels_last", 2))
        for row in rows
    ]


def many_axes() -> list[Row]:
    problems = [
        made.square(c, s, k, batch_size=n, stride=t, bias=bias)
        for c in (3, 24, 1000) for s in (7, 224) for k in (1, 3, 11)
        for n, t, bias in ((1, 1, False), (128, 2, True))
    ]  # fmt: skip
    return made.rows(problems, backends=PAIR, passes=2)


def volumes() -> list[Row]:
    problems = [
        ConvProblem(c, 2 * c, (s, s, 16), (3, 5, 7), padding=(1, 2, 3), dilation=(1, 1, 1))
        for c in (1, 64, 1024) for s in (7, 56)
    ]  # fmt: skip
    return study_of.rows(problems)


def long_names() -> list[Row]:
    backends = ["torch_conv", *(f"{LONG}_{i}" for i in range(14))]
    problems = made.grid((4, 64), (7, 56), (3,))
    on_grid = made.rows(problems, backends=backends, passes=2)
    layers = [
        replace(row, workload=f"network_{LONG}", layer=f"features.{LONG}.{i}.conv")
        for i, problem in enumerate(problems)
        for row in made.rows([problem], backends=backends, passes=2)
    ]
    return on_grid + layers


def wide_range() -> list[Row]:
    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        return 1e-9 * problem.macs ** (1.3 if backend == "separable" else 0.9)

    return made.rows(made.grid((1, 4096), (1, 512), (3, 31)), backends=PAIR, seconds=seconds)


RUNS: dict[str, Callable[[], list[Row]]] = {
    "one case": lambda: made.rows([made.square(8, 7, 3)], backends=("torch_conv",), passes=1),
    "one pair": lambda: made.rows([made.square(8, 7, 3)], backends=PAIR, passes=2, noise=1.0),
    "network": made.network,
    "usual, in two settings": lambda: in_settings(
        study_of.rows(made.grid((8, 128), (14, 28), (3,)))
    ),
    "many axes": many_axes,
    "volumes": volumes,
    "long names": long_names,
    "wide range": wide_range,
}


@pytest.mark.parametrize("name", RUNS)
def test_no_text_of_a_figure_is_cut_or_overlaps_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    found: dict[str, list[str]] = {}

    def check(out: Path, page: Page) -> Path:
        with drawing_style():
            found.update({p.name: layout_faults(p.figure) for p in page.pictures})
        return out

    monkeypatch.setattr(build, "write_pages", check)
    build.write_report(made.write(tmp_path / "run", RUNS[name](), made.ENVIRONMENT), tmp_path / "r")
    faults = {picture: texts for picture, texts in found.items() if texts}
    assert not faults, json.dumps(faults, indent=1)
