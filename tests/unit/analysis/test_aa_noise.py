"""A/A test: false alarms, detected slowdowns, and the request for it."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from convsweep.analysis.aa_noise import measure_noise
from convsweep.backends.variants import (
    extra_work,
    find_backend,
)
from convsweep.results import store
from convsweep.results.schema import Row
from convsweep.sweep.request import Options, aa_request, read_request
from tests.support import synthetic_runs as synthetic_run

NAMES = ("torch_conv", "torch_conv+again", "torch_conv+5%")


def rows(passes: int, spread: float, effect: float = 1.05, problems: int = 40) -> list[Row]:
    """Made-up passes over as many problems, with that spread from pass to pass."""
    rng = np.random.default_rng(1)
    made = synthetic_run.rows(
        [synthetic_run.square(channels, 8, 3) for channels in range(1, problems + 1)],
        backends=NAMES,
        passes=passes,
        noise=0.0,
    )
    factor = {NAMES[0]: 1.0, NAMES[1]: 1.0, NAMES[2]: effect}
    return [
        replace(row, median_s=1e-3 * factor[row.backend] * float(np.exp(rng.normal(0, spread))))
        for row in made
    ]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, made: list[Row], **metadata: object) -> Path:
        folder = tmp_path / name
        return synthetic_run.write(folder, made, {"environment_id": "e0", **metadata})

    return write


def test_equal_variants_raise_no_alarm_and_5_percent_is_found(run: Callable[..., Path]) -> None:
    noise = measure_noise(store.load(run("quiet", rows(10, 0.005))))
    assert (noise.comparisons, noise.false_alarms) == (40, 0)
    assert (noise.trials, noise.found) == (40, 40)
    assert noise.passes == 10
    assert noise.spread == pytest.approx(0.005 * 2**0.5, rel=0.2)
    assert 0.02 < noise.smallest_effect < 0.05
    assert noise.alarm_rate_high == pytest.approx(1 - 0.05 ** (1 / 40))


def test_a_noisy_machine_finds_less_and_needs_more_passes(run: Callable[..., Path]) -> None:
    noise = measure_noise(store.load(run("loud", rows(5, 0.05))))
    assert noise.found < 20
    assert noise.smallest_effect > 0.05
    assert noise.passes_for_5_percent > 20


def test_a_slower_variant_is_a_false_alarm(run: Callable[..., Path]) -> None:
    made = [
        replace(row, median_s=2 * (row.median_s or 0)) if row.backend.endswith("+again") else row
        for row in rows(5, 0.005)
    ]
    noise = measure_noise(store.load(run("alarming", made)))
    assert noise.false_alarms == 40


def test_a_run_without_variants_is_an_error(run: Callable[..., Path]) -> None:
    plain = [row for row in rows(3, 0.005) if row.backend == "torch_conv"]
    with pytest.raises(ValueError, match="A/A variants"):
        measure_noise(store.load(run("plain", plain)))


def test_a_run_without_a_time_says_why(run: Callable[..., Path]) -> None:
    failed = [replace(row, status="timeout", reason="over the limit", median_s=None)
              for row in rows(1, 0.005, problems=2)]  # fmt: skip
    with pytest.raises(ValueError, match="no case has a time: 6 timeout, such as 'over the limit'"):
        measure_noise(store.load(run("failed", failed)))


def test_an_aa_request_has_two_variants_per_backend() -> None:
    request = aa_request(read_request(Options(grid="smoke", backends=["im2col", "loop"])))
    assert list(request.backends) == [
        "im2col", "im2col+again", "im2col+5%", "loop", "loop+again", "loop+5%",
    ]  # fmt: skip
    assert len(request.cases) == 6 * len({case.problem for case in request.cases})
    assert {case.backend for case in request.cases} == set(request.backends)


def test_twins_are_found_by_name() -> None:
    for name in NAMES:
        assert find_backend(name).name == name
        assert find_backend(name).prepare is find_backend("torch_conv").prepare
    assert [extra_work(name) for name in NAMES] == [0, 0, Fraction(1, 20)]
