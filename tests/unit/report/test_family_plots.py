"""Figures of the machine's limit: what they say is what the numbers are."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from convsweep.analysis.families.candidates import Candidates, read_candidates
from convsweep.analysis.run import Run, top_backends
from convsweep.report.plots import best_backend_map, speed_vs_error
from convsweep.report.plots import layers as layers_of_network
from convsweep.report.plots.backend_limit import note_omitted_backends
from convsweep.report.plots.family_style import family_looks
from convsweep.report.plots.style import Picture, drawing_style, png
from tests.support.synthetic_families import ERRORS, FAMILIES, FASTER, contest, run_of
from tests.support.synthetic_runs import square

GRID = {
    f"{channels} {size} {groups}": (1, square(channels, size, 3, groups=groups))
    for channels in (16, 64)
    for size in (7, 14)
    for groups in (1, channels)
}


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Callable[..., Candidates]]:
    def made(**how: object) -> Candidates:
        run: Run = run_of(contest(**{"noise": 1e-3, **how}), tmp_path / f"run{len(how)}")
        (found,) = read_candidates(run)
        return found

    with drawing_style():
        yield made


def checked(picture: Picture | None) -> Picture:
    """A picture with all that a page needs, that can be drawn."""
    assert picture is not None
    assert picture.title
    assert picture.alt.endswith(".")
    assert picture.caption.endswith(".")
    assert "nan" not in picture.title + picture.alt + picture.caption
    assert png(picture.with_title_drawn().figure).startswith(b"\x89PNG")
    return picture


def test_speed_against_error_tells_the_gain_and_what_it_costs(
    field: Callable[..., Candidates],
) -> None:
    picture = checked(speed_vs_error.draw(field()))
    times = ERRORS["winograd_numba"] / 2e-7
    assert picture.title.startswith(
        f"winograd_numba: 3.0 times torch_conv (contiguous), {times:.0f} times its error"
    )
    assert "separable" not in picture.alt


def test_speed_against_error_changes_its_title_with_the_data(
    field: Callable[..., Candidates],
) -> None:
    slow = speed_vs_error.draw(field(faster=dict.fromkeys(FASTER, 0.5)))
    assert checked(slow).title == (
        "In the mean over its cases no backend is faster than torch_conv (contiguous)"
    )


def test_speed_against_error_claims_no_gain_that_is_undecided(
    field: Callable[..., Candidates],
) -> None:
    unsure = field(faster=dict.fromkeys(FASTER, 1.05), noise=0.5)
    assert checked(speed_vs_error.draw(unsure)).title == (
        "In the mean over its cases no backend is surely faster than torch_conv (contiguous)"
    )


@pytest.mark.parametrize("slower", [3.0, 1e5])
def test_speedups_of_any_size_have_ticks(field: Callable[..., Candidates], slower: float) -> None:
    picture = checked(speed_vs_error.draw(field(faster=FASTER | {"winograd": 1 / slower})))
    ax = picture.figure.axes[0]
    ticks = [tick for tick in ax.get_yticks() if ax.get_ylim()[0] <= tick <= ax.get_ylim()[1]]
    assert 3 <= len(ticks) <= 12
    assert min(ticks) < 10 / slower


def test_without_another_backend_there_is_nothing_to_trade(
    field: Callable[..., Candidates],
) -> None:
    alone = field(backends=["torch_conv"])
    assert speed_vs_error.draw(alone) is None
    assert best_backend_map.draw(alone) is None


def test_the_map_names_the_winner_of_every_layer(field: Callable[..., Candidates]) -> None:
    of_grid = field(layers=GRID, workload=None)
    found = best_backend_map.cells(of_grid)
    assert {(cell.kind, cell.winner) for cell in found} == {
        ("3x3, stride 1", "winograd_numba"),
        ("depthwise", "depthwise_numba"),
    }
    assert all(cell.sure for cell in found)
    picture = checked(best_backend_map.draw(of_grid))
    assert picture.title == "Fastest of 8 layers: depthwise_numba on 4, winograd_numba on 4"


def test_a_winner_among_equals_is_marked(field: Callable[..., Candidates]) -> None:
    equal = field(layers=GRID, workload=None, faster=dict.fromkeys(FASTER, 1.0), noise=0.05)
    assert not any(cell.sure for cell in best_backend_map.cells(equal))
    assert (
        checked(best_backend_map.draw(equal)).title
        == "On none of 8 layers is a backend surely the fastest"
    )


def test_of_layers_in_one_place_one_is_drawn_and_the_others_are_told(
    field: Callable[..., Candidates],
) -> None:
    layers = {
        "stem": (1, square(64, 56, 7)),
        "large": (1, square(64, 56, 5)),
        **{f"a{c}": (1, square(c, 7, 3)) for c in range(8, 8 * 20, 8)},
    }
    of = field(layers=layers, passes=2, backends=["torch_conv", "ncnn"], formats=["contiguous"])
    picture = checked(best_backend_map.draw(of))
    rows = next(ax for ax in picture.figure.axes if ax.get_title(loc="left").startswith("3x3"))
    assert len(rows.get_yticks()) == best_backend_map.MOST_ROWS
    assert f"{1 + len(layers) - 2 - best_backend_map.MOST_ROWS} layers not drawn" in picture.caption


def test_a_family_has_one_colour_and_a_backend_a_mark_of_its_own(
    field: Callable[..., Candidates],
) -> None:
    looks = family_looks(field())
    colors = {name: looks[name].color for name in FAMILIES}
    for one, family in FAMILIES.items():
        for other in FAMILIES:
            assert (colors[one] == colors[other]) == (family == FAMILIES[other])
    assert len({(look.color, look.marker) for look in looks.values()}) == len(looks)


def test_of_many_backends_the_fastest_are_drawn_and_the_others_told(tmp_path: Path) -> None:
    names = ["torch_conv", *(f"engine{n}" for n in range(20))]
    faster = {name: 1 + 0.1 * n for n, name in enumerate(names)}
    layers = {f"c{c}": (1, square(c, 14, 3)) for c in (8, 16)}
    run = run_of(
        contest(layers, backends=names, faster=faster, formats=["contiguous"], noise=1e-3),
        tmp_path / "run",
    )
    shown = top_backends(run, 8)
    assert shown.backends == ["torch_conv", *sorted(names[-7:])]
    assert set(shown.pass_times.index.get_level_values("backend")) == set(shown.backends)
    with drawing_style():
        picture = layers_of_network.draw(shown, "net")
        assert picture is not None
        assert "Of 21 backends the 8" in note_omitted_backends(picture, shown, run).caption
        assert note_omitted_backends(picture, run, run) is picture
    assert top_backends(shown, 8) is shown
