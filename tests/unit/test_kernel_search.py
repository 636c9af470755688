"""The search over tiles and bands: distance from the best, and files that are completed."""

from itertools import count

import numpy as np
import pytest

pytest.importorskip("numba")

from bench.kernels import __main__ as search
from bench.kernels.families import FAMILIES, run_words
from bench.kernels.layers import search_layers


def test_thirty_distinct_layers_are_searched() -> None:
    layers = search_layers()
    assert len({*layers}) == 30
    assert [layer.kernel for layer in layers].count("winograd") == 10


def test_a_setting_that_is_the_fastest_by_chance_is_no_distance() -> None:
    rng = np.random.default_rng(0)
    noise = np.exp(0.05 * rng.standard_normal((4000, 30)))
    assert search.distance(noise) == pytest.approx(1, abs=0.01)
    noise[:, 3] /= 1.5
    assert search.distance(noise) == pytest.approx(1.5, abs=0.02)


def test_all_settings_take_turns() -> None:
    ticks = count()
    times = search.time_in_turns([lambda: next(ticks), lambda: next(ticks)], 0)
    assert times.shape == (search.LEAST_ROUNDS, 2)
    assert (times > 0).all()


def test_rows_are_read_as_they_were_written_and_a_cut_one_is_left_out(tmp_path) -> None:
    row = search.Row("winograd", "n1", "contiguous", 2, 5, "a, b", 1.5, "c", 1.25, 1.2, "d")
    path = tmp_path / "sizes.csv"
    assert search.read_rows(path) == []
    search.write_rows(path, [row])
    with path.open("a", encoding="utf-8") as file:
        file.write("winograd,n2,cont")
    assert search.read_rows(path) == [row]
    assert "1.200" in search.page([row])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_one_run_within_its_share_of_the_time(tmp_path, name: str) -> None:
    words = run_words(name, tmp_path, 10)
    budget = float(words[words.index("--budget") + 1].removesuffix("s"))
    assert budget == pytest.approx(600 * FAMILIES[name].share)
    assert sum(family.share for family in FAMILIES.values()) == pytest.approx(1)
