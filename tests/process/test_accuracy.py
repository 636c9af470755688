"""Studies of accuracy: the same bits from the same seed, processes that fail, resuming."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from convsweep import cli
from convsweep.accuracy import session
from convsweep.accuracy.datasets import Source, Split
from convsweep.accuracy.session import (
    StudyEnding,
    StudyProgress,
    read_request,
    run_study,
)
from convsweep.accuracy.trial import Trial, run_trial, run_trial_in_process
from convsweep.measure.sampling import MeasurementConfig
from convsweep.results.accuracy import (
    ACCURACY_TABLE,
    STANDARD,
    VARIANTS,
    AccuracyRow,
)
from convsweep.results.store import read_environment
from convsweep.system.devices import find_device
from tests.support.labelled_images import images, scene

QUICK = MeasurementConfig(warm_up_s=1e-4, block_s=1e-4, blocks=1, clock_share=1.0, discard_s=1e-6)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Settings of torch that a trial changes are as they were behind each test."""
    threads, strict = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(strict)


def trial(seed: int = 0) -> Trial:
    row = AccuracyRow(
        run_id="run", started_at="now", environment_id="e0", dataset="images", variant=STANDARD,
        seed=seed, device="cpu", dtype="float32", threads=1, status="skipped",
    )  # fmt: skip
    return Trial(images(), row, width=2, epochs=2, effort=QUICK)


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
