"""Small networks: honest splits, counted layers, the same bits from the same seed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from convsweep import cli
from convsweep.accuracy import session
from convsweep.accuracy.datasets import SOURCES, Images, Scene, Source, Split, digest
from convsweep.accuracy.model import ImageTask, build, deploy, layers, macs, width_of
from convsweep.accuracy.session import (
    StudyEnding,
    StudyProgress,
    read_request,
    require_same,
    run_study,
)
from convsweep.accuracy.trial import Trial, run_trial, run_trial_in_process
from convsweep.measure.sampling import MeasurementConfig
from convsweep.results.accuracy import (
    ACCURACY_TABLE,
    EQUAL_COST,
    SEPARABLE,
    STANDARD,
    VARIANTS,
    AccuracyRow,
)
from convsweep.results.store import read_environment
from convsweep.system.devices import find_device

QUICK = MeasurementConfig(warm_up_s=1e-4, block_s=1e-4, blocks=1, clock_share=1.0, discard_s=1e-6)
TASKS = (ImageTask(1, 8, 10), ImageTask(200, 7, 9), ImageTask(3, 12, 2), ImageTask(5, 9, 3))
SEEDS = st.integers(0, 10**6)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Settings of torch that a trial changes are as they were behind each test."""
    threads, strict = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(strict)


def images(samples: int = 60, classes: int = 3) -> Images:
    """Noise around a pattern of each class."""
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % classes
    patterns = rng.normal(size=(classes, 2, 8, 8))
    noisy = patterns[labels] + rng.normal(size=(samples, 2, 8, 8))
    return Images(noisy.astype(np.float32), labels.astype(np.int64))


def scene() -> Scene:
    """Stripes of three classes and one that is too rare; every pixel's first value is its place."""
    labels = np.tile(np.arange(48) // 4 % 4, (48, 1))
    labels[0, 0] = 9
    cube = np.arange(2 * 48 * 48, dtype=np.float32).reshape(2, 48, 48)
    return Scene(cube, labels, patch=3, tile=6, least_labelled=10, least_samples=5)


def trial(seed: int = 0) -> Trial:
    row = AccuracyRow(
        run_id="run", started_at="now", environment_id="e0", dataset="images", variant=STANDARD,
        seed=seed, device="cpu", dtype="float32", threads=1, status="skipped",
    )  # fmt: skip
    return Trial(images(), row, width=2, epochs=2, effort=QUICK)


def covered(scene: Scene, centres: np.ndarray) -> set[tuple[int, int]]:
    """Every pixel of the patches around these centres."""
    reach = range(-(scene.patch // 2), scene.patch // 2 + 1)
    return {(int(r) + i, int(c) + j) for r, c in centres for i in reach for j in reach}


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_patches_to_train_and_to_test_share_no_pixel(seed: int) -> None:
    train, test = scene().centres(seed)
    assert covered(scene(), train).isdisjoint(covered(scene(), test))


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_every_class_of_a_scene_is_on_both_sides_and_no_other_is(seed: int) -> None:
    for centres in scene().centres(seed):
        labels, counts = np.unique(scene().labels[*centres.T], return_counts=True)
        assert list(labels) == [1, 2, 3]
        assert counts.min() >= scene().least_samples


def test_a_patch_lies_around_its_pixel() -> None:
    whole = scene()
    centres = whole.centres(0)[0]
    middle = whole._patches(centres)[:, :, 1, 1]
    assert (middle == whole.cube[:, *centres.T].T).all()


def test_a_scene_that_can_not_be_split_says_so() -> None:
    with pytest.raises(ValueError, match="no draw of tiles of 1000000 pixels"):
        replace(scene(), tile=10**6, most_draws=5).split(0)


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_of_every_class_the_same_share_of_images_is_tested(seed: int) -> None:
    split = images().split(seed)
    assert list(np.bincount(split.test_labels)) == [4, 4, 4]
    assert list(np.bincount(split.train_labels)) == [16, 16, 16]


def test_no_image_is_on_both_sides() -> None:
    whole = images()
    plain = Images(np.arange(60, dtype=np.float32).reshape(60, 1, 1, 1), whole.labels)
    split = plain.split(3)
    assert not {*split.train.ravel()} & {*split.test.ravel()}


@pytest.mark.parametrize("data", [images(), scene()])
def test_the_training_samples_alone_decide_the_scale(data: Images | Scene) -> None:
    train = data.split(1).train
    assert np.allclose(train.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    assert np.allclose(train.std(axis=(0, 2, 3)), 1, atol=1e-4)


@pytest.mark.parametrize("data", [images(), scene()])
def test_a_seed_gives_its_split_again_and_another_seed_another(data: Images | Scene) -> None:
    assert digest(data.split(5)) == digest(data.split(5)) != digest(data.split(6))


@pytest.mark.parametrize("name", SOURCES)
def test_a_shipped_data_set_splits_into_all_its_classes(name: str) -> None:
    source = SOURCES[name]
    pytest.importorskip(source.package)
    split = source.load().split(0)
    assert {*split.train_labels} == {*split.test_labels} == {*range(9 + (name != "indian_pines"))}
    assert len(split.test) < len(split.train)


def test_indian_pines_train_and_test_on_pixels_of_their_own() -> None:
    pytest.importorskip("tensorly")
    pines = SOURCES["indian_pines"].load()
    assert isinstance(pines, Scene)
    train, test = pines.centres(0)
    assert pines.cube.shape == (200, 145, 145)
    assert covered(pines, train).isdisjoint(covered(pines, test))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_macs_are_those_that_torch_counts(task: ImageTask, variant: str) -> None:
    network = build(task, variant, 4, torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(2, task.in_channels, task.size, task.size))
    assert counter.get_total_flops() == 2 * 2 * macs(task, variant, 4)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("width", [4, 8, 16])
def test_at_equal_cost_no_other_width_comes_closer(task: ImageTask, width: int) -> None:
    aim = macs(task, STANDARD, width)
    found = width_of(task, EQUAL_COST, width)
    off = [abs(macs(task, EQUAL_COST, found + step) - aim) for step in (-1, 0, 1)]
    assert min(off) == off[1]
    assert found > width == width_of(task, SEPARABLE, width)


def test_an_input_of_few_channels_keeps_its_first_layer() -> None:
    assert layers(ImageTask(3, 8, 2), SEPARABLE, 4)[0].groups == 1
    assert layers(ImageTask(4, 8, 2), SEPARABLE, 4)[0].groups == 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_that_is_timed_answers_as_the_trained_one(variant: str) -> None:
    network = build(ImageTask(4, 8, 3), variant, 4, torch.Generator().manual_seed(0))
    x = torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    network.train()
    network(x)  # running means that are not those of the start
    network.eval()
    with torch.inference_mode():
        assert torch.allclose(deploy(network)(x), network(x), atol=1e-5)


BITS = ("variant", "accuracy", "loss", "split_digest", "weights_digest", "parameters", "macs")


def bits(outcomes: list[AccuracyRow]) -> list[tuple[object, ...]]:
    return [tuple(getattr(outcome, name) for name in BITS) for outcome in outcomes]


def test_the_same_seed_gives_the_same_bits() -> None:
    device = find_device("cpu")
    once, again = run_trial(trial(), device), run_trial(trial(), device)
    assert bits(once) == bits(again)
    assert {outcome.status for outcome in once} == {"ok"}
    assert len({outcome.split_digest for outcome in once}) == 1
    other = run_trial(trial(seed=1), device)
    assert not {o.weights_digest for o in once} & {o.weights_digest for o in other}


@dataclass(frozen=True)
class Deadly:
    """Data that end the process that asks for them."""

    def split(self, seed: int) -> Split:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_process_apart_gives_the_same_bits_and_tells_how_it_failed() -> None:
    apart = run_trial_in_process(trial(), lambda: False)
    assert apart is not None
    again = run_trial_in_process(trial(), lambda: False)
    assert again is not None
    assert bits(apart) == bits(again)
    impossible = replace(trial(), data=replace(scene(), tile=10**6, most_draws=5))
    outcomes = run_trial_in_process(impossible, lambda: False)
    assert outcomes is not None
    assert [(o.variant, o.status) for o in outcomes] == [(v, "error") for v in VARIANTS]
    assert "no draw of tiles" in str(outcomes[0].reason)
    killed = run_trial_in_process(replace(trial(), data=Deadly()), lambda: False)  # type: ignore[arg-type]
    assert killed is not None
    assert [(o.status, o.reason) for o in killed] == [("crash", "killed by SIGKILL")] * 3
    assert run_trial_in_process(trial(), lambda: True) is None


def trained(asked: Trial, interrupted: Callable[[], bool]) -> list[AccuracyRow]:
    """Outcomes that depend on the seed alone."""
    return [
        replace(
            asked.row, variant=variant, started_at="now", status="ok", width=2, train_samples=48,
            test_samples=12, epochs=asked.epochs, accuracy=0.5 + asked.row.seed / 100, loss=1.0,
            parameters=10, macs=100, training_s=1.0, inference_s=1e-3, batch_size=64,
            batch_inference_s=1e-2,
        )
        for variant in VARIANTS
    ]  # fmt: skip


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two data sets, one of them in a package that is not there."""
    there = Source("there", "numpy", images, width=2, epochs=1)
    away = Source("away", "no_such_package_as_this", images, width=2, epochs=1)
    monkeypatch.setattr(session, "SOURCES", {"there": there, "away": away})


def study(
    out: Path, *, seeds: int = 2, resume: bool = False, run_trial: session.RunTrial = trained
) -> tuple[StudyEnding, list[StudyProgress]]:
    progress: list[StudyProgress] = []
    request = read_request(seeds=seeds)
    ending = run_study(
        request, out, "convsweep accuracy", progress.append, resume=resume, run_trial=run_trial
    )
    return ending, progress


@pytest.mark.usefixtures("sources")
def test_a_missing_package_is_named_with_its_remedy_and_the_rest_goes_on(tmp_path: Path) -> None:
    ending, progress = study(tmp_path / "run")
    rows = ACCURACY_TABLE.load(tmp_path / "run")
    away = rows[rows["dataset"] == "away"]
    assert ending == StudyEnding(interrupted=False, failed=0)
    assert [now.done for now in progress] == [1, 2, 3, 4]
    assert list(rows["status"].value_counts().items()) == [("ok", 6), ("skipped", 6)]
    assert {*away["reason"]} == {"needs no_such_package_as_this: pip install 'convsweep[accuracy]'"}
    assert read_environment(tmp_path / "run")["end_reason"] == "done"


@pytest.mark.usefixtures("sources")
def test_an_interrupted_study_goes_on_and_trains_nothing_twice(tmp_path: Path) -> None:
    asked: list[int] = []

    def interrupted_once(trial: Trial, interrupted: Callable[[], bool]) -> list[AccuracyRow] | None:
        asked.append(trial.row.seed)
        if asked == [0, 1]:
            os.kill(os.getpid(), signal.SIGINT)
        return None if interrupted() else trained(trial, interrupted)

    study(tmp_path / "whole")
    assert study(tmp_path / "run", run_trial=interrupted_once)[0].interrupted
    assert read_environment(tmp_path / "run")["end_reason"] == "interrupted"
    assert len(ACCURACY_TABLE.load(tmp_path / "run")) == 6
    assert not study(tmp_path / "run", run_trial=interrupted_once, resume=True)[0].interrupted
    assert asked == [0, 1, 1]
    columns = ["dataset", "variant", "seed", "accuracy", "status"]
    assert ACCURACY_TABLE.load(tmp_path / "run")[columns].equals(
        ACCURACY_TABLE.load(tmp_path / "whole")[columns]
    )


def test_a_second_interrupt_ends_a_study_with_the_first_ones_exit_code(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    words = ["accuracy", "--dataset", "digits", "--seeds", "50", "--out", str(tmp_path / "run")]
    running = subprocess.Popen(
        [sys.executable, "-c", "from convsweep.cli import main; main()", *words],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stderr is not None
    running.stderr.readline()  # a trial is over
    os.killpg(running.pid, signal.SIGINT)
    time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert len(ACCURACY_TABLE.load(tmp_path / "run")) >= 3


@pytest.mark.usefixtures("sources")
def test_another_request_is_not_gone_on_with(tmp_path: Path) -> None:
    study(tmp_path / "run")
    before = (tmp_path / "run" / "accuracy.csv").read_bytes()
    with pytest.raises(ValueError, match=r"^can't resume: --seeds was 2, and is 3 now$"):
        study(tmp_path / "run", seeds=3, resume=True)
    with pytest.raises(ValueError, match="not an empty or new folder"):
        study(tmp_path / "run")
    assert (tmp_path / "run" / "accuracy.csv").read_bytes() == before


BEGUN = {
    "run_id": "a-study",
    "environment_id": "e0",
    "request": {
        "datasets": {"digits": "00"}, "seeds": 5, "threads": 1, "epochs": {"digits": 12},
    },
    "settings": {"batch_size": 64},
}  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"datasets": {"mnist": "11"}}, "--dataset was digits, and is mnist now"),
        ({"datasets": {"digits": 0, "mnist": 1}}, "--dataset was digits, and is digits, mnist now"),
        ({"seeds": 6}, "--seeds was 5, and is 6 now"),
        ({"threads": 2}, "--threads was 1, and is 2 now"),
        ({"epochs": {"digits": 1}}, "--epochs for digits was 12, and is 1 now"),
        ({"datasets": {"digits": "77"}}, "the data of digits have changed since the start"),
    ],
)  # fmt: skip
def test_a_refused_resume_speaks_as_the_user_types(
    request_: dict[str, object], reason: str
) -> None:
    now = {**BEGUN, "request": {**BEGUN["request"], **request_}}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=f"^can't resume: {reason}$"):
        require_same(BEGUN, now)
    require_same(BEGUN, BEGUN)


def test_another_machine_or_a_partial_request_refuses_a_resume_in_a_line() -> None:
    with pytest.raises(ValueError, match="the machine or the version of a package"):
        require_same(BEGUN, {**BEGUN, "environment_id": "e1"})
    for damaged in ({}, {"datasets": {}, "epochs": {}}):
        with pytest.raises(ValueError, match=r"^can't resume: [^\n]+$"):
            require_same({**BEGUN, "request": damaged}, BEGUN)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"datasets": ["cats"]},
            "'cats' is unknown; choose from digits, mnist, indian_pines",
        ),
        ({"seeds": 0}, "--seeds 0 is not a whole number from 1 to 1000"),
        ({"threads": 0}, "--threads 0 is not"),
        ({"epochs": -1}, "--epochs -1 is not"),
    ],
)
def test_a_wrong_request_is_one_line(options: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        read_request(**options)
    assert expected in str(refused.value)


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
    assert "separable" in out
    assert list(ACCURACY_TABLE.load("run")["status"]) == ["ok"] * 3
    before = Path("run/accuracy.csv").read_bytes()
    assert typed()[0] == 2
    assert typed("--resume")[0] == 0
    assert Path("run/accuracy.csv").read_bytes() == before
    code, _, err = typed("--resume", "--threads", "0")
    assert (code, err.count("\n")) == (2, 1)
