"""What an accuracy study says: intervals that hold, verdicts with words, no more than the data."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from convsweep import cli
from convsweep.analysis.accuracy import Study, interval_over_splits, pareto_front, read_study
from convsweep.report.plots import accuracy_vs_time
from convsweep.report.plots.style import drawing_style, png
from convsweep.report.sections import accuracy as report
from convsweep.report.sections import accuracy_text
from convsweep.results.accuracy import (
    ACCURACY_TABLE,
    EPOCHS,
    EQUAL_COST,
    SEPARABLE,
    STANDARD,
    VARIANTS,
    AccuracyRow,
)

TRAIN, TEST = 4000, 1000
EVEN = (0.90, 0.91, 0.89, 0.90, 0.92)


def unit(
    dataset: str,
    seed: int,
    accuracies: Mapping[str, float],
    seconds: Mapping[str, float] = dict.fromkeys(VARIANTS, 1e-3),
    **changes: object,
) -> list[AccuracyRow]:
    """The rows of one trial; a batch of 64 takes ten times as long as one sample."""
    macs = {STANDARD: 9000, SEPARABLE: 1500, EQUAL_COST: 9090}
    rows = [
        AccuracyRow(
            run_id="a-study", started_at="2026-11-23T10:00:00.000+00:00", environment_id="e0",
            dataset=dataset, variant=variant, seed=seed, device="cpu", dtype="float32", threads=1,
            status="ok", width=8, train_samples=TRAIN, test_samples=TEST,
            epochs=EPOCHS.get(dataset),
            accuracy=accuracies[variant], loss=0.5, parameters=100, macs=macs[variant],
            training_s=2.0, inference_s=seconds[variant] * (1 + seed / 1000), batch_size=64,
            batch_inference_s=10 * seconds[variant],
        )
        for variant in VARIANTS
    ]  # fmt: skip
    return [replace(row, **changes) for row in rows]  # type: ignore[arg-type]


def shifted(
    dataset: str, by: Mapping[str, Sequence[float]], standard: Sequence[float] = EVEN
) -> list[list[AccuracyRow]]:
    """A trial a seed, whose variants differ from the standard one's accuracy by so much."""
    return [
        unit(dataset, seed, {STANDARD: a, **{v: a + by[v][seed] for v in by}})
        for seed, a in enumerate(standard)
    ]


def study(run_dir: Path, units: Sequence[list[AccuracyRow]]) -> Study:
    records = ACCURACY_TABLE.open(run_dir)
    for rows in units:
        records.append(*rows)
    records.close()
    return read_study(ACCURACY_TABLE.load(run_dir))


NONE, NOISE = [0.0] * 5, [0.01, -0.012, 0.002, -0.006, 0.007]
LOSS = [-0.05, -0.051, -0.049, -0.05, -0.05]


def test_a_steady_loss_is_told_and_noise_is_not(tmp_path: Path) -> None:
    found = study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NOISE}))
    loses, open_ = found.comparisons
    assert (loses.variant, loses.decided, open_.decided) == (SEPARABLE, True, False)
    assert loses.difference.high < 0 < open_.difference.high
    text = "\n".join(accuracy_text.sentences(found))
    assert "lose accuracy on digits" in text
    assert "loses 5.00 [" in text
    assert "the same within 2 points, 0.02 [" in text
    assert "have the same accuracy within 2 points on digits" in text
    assert "6.00 times fewer MACs" in text
    assert "The MACs are equal within 1.0 %" in text


WILD = [-0.4, 0.05, -0.3, 0.05, -0.4]


@pytest.mark.parametrize(("by", "seeds"), [(WILD, 5), (WILD, 2), (NOISE, 4), ([-0.34, -0.25], 2)])
def test_what_is_too_uncertain_is_told_so_and_never_as_a_finding(
    tmp_path: Path, by: Sequence[float], seeds: int
) -> None:
    found = study(tmp_path, shifted("digits", {SEPARABLE: by, EQUAL_COST: by}, EVEN[:seeds]))
    said = accuracy_text.sentences(found)
    assert said[0] == (
        "Whether separable layers in place of standard ones cost accuracy on digits is too "
        "uncertain to tell."
    )
    assert "(width 8): too uncertain to tell a difference, " in said[2]
    assert not any("no difference" in one or "same" in one.split(". ")[0] for one in said)
    assert accuracy_text.comparison_table(found).rows[0][3] == "too uncertain to tell"
    with drawing_style():
        picture = accuracy_vs_time.draw(found)
    assert picture is not None
    assert " 0 of 1 data sets" in picture.title


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_stay_where_shares_and_their_differences_lie(tmp_path: Path, seeds: int) -> None:
    by = [-0.9, 0.05, -0.7, 0.0, -0.89]
    found = study(tmp_path, shifted("digits", {SEPARABLE: by, EQUAL_COST: by}, EVEN[:seeds]))
    for comparison in found.comparisons:
        assert -1 <= comparison.difference.low <= comparison.difference.high <= 1
    for quality in found.qualities:
        assert 0 <= quality.accuracy.low <= quality.accuracy.high <= 1
    assert found.comparisons[0].difference.low == -1


def test_certain_and_uncertain_data_sets_share_a_sentence(tmp_path: Path) -> None:
    loss = shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: LOSS})
    wild = shifted("mnist", {SEPARABLE: WILD, EQUAL_COST: WILD})
    assert accuracy_text.sentences(study(tmp_path, loss + wild))[0] == (
        "Separable layers in place of standard ones lose accuracy on digits; "
        "on mnist it is too uncertain to tell."
    )


def test_different_data_give_different_sentences(tmp_path: Path) -> None:
    gain = [-change for change in LOSS]
    told = [
        accuracy_text.sentences(
            study(tmp_path / name, shifted("digits", {SEPARABLE: by, EQUAL_COST: NONE}))
        )
        for name, by in (("loss", LOSS), ("noise", NOISE), ("gain", gain))
    ]
    assert "gains 5.00 [" in "\n".join(told[2])
    assert len({one[0] for one in told}) == 3
    assert len({one[2] for one in told}) == 3


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (2e-3, "it takes 2.00 [2.00, 2.00] times as long with one sample"),
        (5e-4, "it is 2.00 [2.00, 2.00] times as fast with one sample"),
        (1e-3, "it is as fast (1.00 [1.00, 1.00] times) with one sample"),
    ],
)
def test_time_is_told_with_its_direction(tmp_path: Path, seconds: float, said: str) -> None:
    times = {STANDARD: 1e-3, SEPARABLE: seconds, EQUAL_COST: 1e-3}
    even = dict.fromkeys(VARIANTS, 0.9)
    found = study(tmp_path, [unit("mnist", seed, even, times) for seed in range(5)])
    assert said in accuracy_text.sentences(found)[2]


def test_one_seed_has_no_interval_and_no_verdict(tmp_path: Path) -> None:
    found = study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE}, EVEN[:1]))
    assert not any(comparison.decided for comparison in found.comparisons)
    assert np.isnan(found.comparisons[0].difference.low)
    told = accuracy_text.sentences(found)
    assert len(told) == 2
    assert told[0].startswith("digits, separable (width 8): one seed: 85.0 % against 90.0 %.")
    assert "difference" not in " ".join(told)
    assert accuracy_text.comparison_table(found).rows[0][3] == "too uncertain to tell"
    with drawing_style():
        assert accuracy_vs_time.draw(found) is not None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_an_interval_over_splits_is_wider_than_students_and_around_the_mean(
    accuracies: list[float],
) -> None:
    rows = pd.DataFrame({"train_samples": TRAIN, "test_samples": TEST}, index=range(9))
    values = pd.Series(accuracies)
    value, low, high = interval_over_splits(values, rows.iloc[: len(values)])
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(accuracies)
    assert value == pytest.approx(np.mean(accuracies))
    assert high - value == pytest.approx(value - low)
    # Nadeau & Bengio: the variance of a mean of n grows from 1 / n to 1 / n + tested share.
    assert high - value >= half * np.sqrt(1 + len(values) * TEST / TRAIN) * (1 - 1e-9)


def test_only_seeds_that_both_have_are_compared(tmp_path: Path) -> None:
    units = shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE})
    units[0] = [
        replace(row, status="crash", accuracy=None) if row.variant == SEPARABLE else row
        for row in units[0]
    ]
    separable, equal = study(tmp_path, units).comparisons
    assert (separable.seeds, equal.seeds) == (4, 5)


def test_what_was_not_trained_is_told_with_its_reason(tmp_path: Path) -> None:
    even = dict.fromkeys(VARIANTS, 0.9)
    away = unit("away", 0, even, status="skipped", reason="needs cats: pip install cats")
    found = study(tmp_path, [unit("digits", 0, even), away])
    assert found.datasets == ["digits"]
    assert accuracy_text.sentences(found)[-1] == (
        "away, 3 networks: skipped, needs cats: pip install cats."
    )


def test_a_study_of_nothing_but_skipped_rows_has_a_part_of_a_report(tmp_path: Path) -> None:
    away = unit("away", 0, dict.fromkeys(VARIANTS, 0.9), status="skipped", reason="needs cats")
    study(tmp_path, [away])
    found = report.section(tmp_path)
    assert found is not None
    assert list(found.sentences) == ["away, 3 networks: skipped, needs cats."]
    assert not found.tables
    assert not found.pictures


POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(POINTS)
def test_on_the_front_is_what_no_other_point_beats(points: list[tuple[int, int]]) -> None:
    best = pareto_front(points)
    for place, (time, share) in enumerate(points):
        beaten = any(t <= time and a >= share and (t < time or a > share) for t, a in points)
        assert (place in best) != beaten
    times = [points[place][0] for place in best]
    assert times == sorted(times)


def test_the_figure_tells_what_it_shows(tmp_path: Path) -> None:
    loss = shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NOISE})
    found = study(tmp_path, loss + shifted("mnist", {SEPARABLE: NOISE, EQUAL_COST: NONE}))
    with drawing_style():
        picture = accuracy_vs_time.draw(found)
    assert picture is not None
    assert " 1 of 2 data sets" in picture.title
    assert len(picture.figure.axes) == 4
    assert png(picture.figure).startswith(b"\x89PNG")


def test_a_page_needs_a_row(tmp_path: Path) -> None:
    study(tmp_path, [])
    assert report.section(tmp_path) is None
    with pytest.raises(ValueError, match="has no networks to report"):
        report.page(tmp_path)


def test_a_page_tells_the_environment(tmp_path: Path) -> None:
    study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE}))
    (tmp_path / "environment.json").write_text('{"environment_id": "e0"}')
    page = report.page(tmp_path)
    assert page.environment == {"environment_id": "e0"}
    assert [section.title for section in page.sections] == [page.title]
    assert len(page.sections[0].tables) == 2


@pytest.mark.parametrize("ended", ["interrupted", None])
def test_a_study_that_was_cut_short_says_so(tmp_path: Path, ended: str | None) -> None:
    study(tmp_path, [unit("digits", 0, dict.fromkeys(VARIANTS, 0.9))])
    (tmp_path / "environment.json").write_text(json.dumps({"end_reason": ended}))
    found = report.section(tmp_path)
    assert found is not None
    assert found.sentences[-1].startswith("This study did not come to its end")


def environment(path: Path, **told: object) -> Path:
    path.mkdir(exist_ok=True)
    (path / "environment.json").write_text(json.dumps(told))
    return path


ASKED = {"datasets": {"digits": "00"}, "variants": list(VARIANTS), "seeds": 5}


@pytest.mark.parametrize(("trained", "short"), [(5, False), (4, True), (1, True)])
def test_a_study_with_fewer_rows_than_asked_says_so(
    tmp_path: Path, trained: int, short: bool
) -> None:
    study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE})[:trained])
    found = report.section(environment(tmp_path, ended="done", request=ASKED))
    assert found is not None
    said = f"This study is short: it has {3 * trained} of the 15 networks that were asked for."
    assert (found.sentences[-1] == said) == short


@pytest.mark.parametrize("request_", [None, 3, {}, {"datasets": 1}, {**ASKED, "seeds": "many"}])
def test_a_damaged_request_says_nothing_of_shortness(tmp_path: Path, request_: object) -> None:
    study(tmp_path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE}))
    found = report.section(environment(tmp_path, request=request_))
    assert found is not None
    assert not any("short" in sentence for sentence in found.sentences)


def test_the_first_note_tells_where_a_study_comes_from(tmp_path: Path) -> None:
    path = environment(tmp_path / "small", started_at="2026-01-05T10:00", commit="0123abc")
    study(path, shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE}))
    found = report.section(path)
    assert found is not None
    said = "From the study small of 2026-01-05, commit 0123abc: digits with 5 seeds of 12 epochs."
    assert found.notes[0] == said


def test_the_latest_thorough_study_of_the_same_environment_is_quoted(tmp_path: Path) -> None:
    def folder(name: str, environment_id: str, day: int) -> Path:
        started_at = f"2026-01-0{day}"
        return environment(tmp_path / name, environment_id=environment_id, started_at=started_at)

    run = folder("run", "e0", 5)
    assert report.latest_sibling(run) is None
    whole = shifted("digits", {SEPARABLE: LOSS, EQUAL_COST: NONE})
    study(folder("few", "e0", 5), whole[:4])
    study(folder("cut", "e0", 5), [[replace(row, epochs=1) for row in unit] for unit in whole])
    assert report.latest_sibling(run) is None
    for name, environment_id, day in (("old", "e0", 1), ("new", "e0", 2), ("other", "e1", 3)):
        study(folder(name, environment_id, day), whole)
    study(folder("empty", "e0", 4), [])
    (folder("damaged", "e0", 5) / "accuracy.csv").write_bytes(b"\0")
    assert report.latest_sibling(run) == tmp_path / "new"
    assert report.section(tmp_path / "few") is not None


def test_a_study_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    options = ["accuracy", "--dataset", "digits", "--seeds", "1", "--epochs", "1", "--out", "run"]
    monkeypatch.setattr(sys, "argv", ["convsweep", *options])

    def typed(*more: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*options, *more])
        return ended.value.code, *capsys.readouterr()

    code, out, err = typed()
    assert (code, err.count("1/1 digits, seed 0: standard")) == (0, 1)
    assert "digits, separable" in out
    assert list(ACCURACY_TABLE.load("run")["status"]) == ["ok"] * 3
    before = Path("run/accuracy.csv").read_bytes()
    assert typed()[0] == 2
    assert typed("--resume")[0] == 0
    assert Path("run/accuracy.csv").read_bytes() == before
    code, _, err = typed("--resume", "--threads", "0")
    assert (code, err.count("\n")) == (2, 1)
