"""Figures of families of backends: winners, marks and the numbers of their titles."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convsweep.analysis.families.candidates import Candidates, read_candidates
from convsweep.analysis.run import top_backends
from convsweep.report.plots import best_backend_map, note_omitted_backends, speed_vs_error
from convsweep.report.plots import layers as layers_of_network
from convsweep.report.plots.family_style import family_looks
from convsweep.report.plots.style import Picture, drawing_style
from tests.support.figure_texts import layout_faults
from tests.support.synthetic_families import FAMILIES, FASTER, family_rows, run_of
from tests.support.synthetic_runs import square

GRID = {
    f"{channels} {size} {groups}": (1, square(channels, size, 3, groups=groups))
    for channels in (16, 64)
    for size in (7, 14)
    for groups in (1, channels)
}
Field = Callable[..., Candidates]


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    def made(**how: object) -> Candidates:
        (found,) = read_candidates(
            run_of(family_rows(**{"noise": 1e-3, "passes": 3, **how}), tmp_path / "run")
        )
        return found

    with drawing_style():
        yield made


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Candidates:
    """All families on the layers of one network."""
    (found,) = read_candidates(
        run_of(family_rows(noise=1e-3, passes=3), tmp_path_factory.mktemp("a") / "run")
    )
    return found


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with drawing_style():
        yield


def checked(picture: Picture | None) -> Picture:
    assert picture is not None
    assert picture.alt.endswith(".")
    assert picture.caption.endswith(".")
    assert "nan" not in picture.title + picture.alt + picture.caption
    assert layout_faults(picture.figure) == []
    return picture


def test_the_title_of_speed_against_error_has_the_largest_significant_gain(
    usual: Candidates,
) -> None:
    picture = checked(speed_vs_error.draw(usual))
    assert "winograd_numba is 3.0x" in picture.caption
    (legend,) = picture.figure.legends
    names = {text.get_text() for text in legend.texts}
    assert "winograd_numba" in names
    assert "separable" not in names


@pytest.mark.parametrize(("factor", "noise"), [(0.5, 1e-3), (1.05, 0.5)])
def test_speed_against_error_claims_no_gain_that_is_not_significant(
    field: Field, factor: float, noise: float
) -> None:
    of = field(faster=dict.fromkeys(FASTER, factor), noise=noise)
    assert checked(speed_vs_error.draw(of)).caption.startswith("No backend")


@pytest.mark.parametrize("slower", [3.0, 1e5])
def test_speedups_of_any_size_have_ticks(field: Field, slower: float) -> None:
    picture = checked(speed_vs_error.draw(field(faster=FASTER | {"winograd": 1 / slower})))
    ax = picture.figure.axes[0]
    ticks = [tick for tick in ax.get_yticks() if ax.get_ylim()[0] <= tick <= ax.get_ylim()[1]]
    assert 3 <= len(ticks) <= 12
    assert min(ticks) < 10 / slower


def test_nothing_is_drawn_of_the_baseline_alone(field: Field) -> None:
    baseline = field(backends=["torch_conv"])
    assert speed_vs_error.draw(baseline) is None
    assert best_backend_map.draw(baseline) is None


def test_the_map_has_the_fastest_backend_of_every_layer(field: Field) -> None:
    of_grid = field(layers=GRID, workload=None)
    found = best_backend_map.cells(of_grid)
    assert {(cell.kind, cell.winner) for cell in found} == {
        ("3x3, stride 1", "winograd_numba"),
        ("depthwise", "depthwise_numba"),
    }
    assert all(cell.significant for cell in found)
    assert "depthwise_numba is fastest in 4 of 8" in checked(best_backend_map.draw(of_grid)).caption


def test_a_winner_among_equals_is_marked(field: Field) -> None:
    equal = field(layers=GRID, workload=None, faster=dict.fromkeys(FASTER, 1.0), noise=0.05)
    assert not any(cell.significant for cell in best_backend_map.cells(equal))
    picture = checked(best_backend_map.draw(equal))
    assert "No backend" in picture.caption
    texts = [text.get_text() for ax in picture.figure.axes for text in ax.texts]
    assert len(texts) == 8
    assert all(text.endswith("?") for text in texts)


def test_of_layers_in_one_cell_one_is_drawn_and_the_caption_counts_them(field: Field) -> None:
    layers = {
        "stem": (1, square(64, 56, 7)),
        "large": (1, square(64, 56, 5)),
        **{f"a{c}": (1, square(c, 7, 3)) for c in range(8, 8 * 20, 8)},
    }
    of = field(layers=layers, passes=2, backends=["torch_conv", "ncnn"], formats=["contiguous"])
    picture = checked(best_backend_map.draw(of))
    rows = next(ax for ax in picture.figure.axes if ax.get_title(loc="left").startswith("3x3"))
    assert len(rows.get_yticks()) == best_backend_map.MOST_ROWS
    assert f"{1 + best_backend_map.MOST_ROWS} of {len(layers)} layers" in picture.caption


def test_a_family_has_one_colour_and_a_backend_a_mark_of_its_own(usual: Candidates) -> None:
    looks = family_looks(usual)
    colors = {name: looks[name].color for name in FAMILIES}
    for one, family in FAMILIES.items():
        for other in FAMILIES:
            assert (colors[one] == colors[other]) == (family == FAMILIES[other])
    assert len({(look.color, look.marker) for look in looks.values()}) == len(looks)


def test_of_many_backends_the_fastest_are_drawn_and_the_caption_counts_them(tmp_path: Path) -> None:
    names = ["torch_conv", *(f"engine{n}" for n in range(20))]
    faster = {name: 1 + 0.1 * n for n, name in enumerate(names)}
    layers = {f"c{c}": (1, square(c, 14, 3)) for c in (8, 16)}
    rows = family_rows(layers, backends=names, faster=faster, formats=["contiguous"], noise=1e-3)
    run = run_of(rows, tmp_path / "run")
    shown = top_backends(run, 8)
    assert shown.backends == ["torch_conv", *sorted(names[-7:])]
    assert set(shown.pass_times.index.get_level_values("backend")) == set(shown.backends)
    with drawing_style():
        picture = layers_of_network.draw(shown, "net")
    assert picture is not None
    assert "8 of 21 backends" in note_omitted_backends(picture, shown, run).caption
    assert note_omitted_backends(picture, run, run) == picture
    assert top_backends(shown, 8) is shown
