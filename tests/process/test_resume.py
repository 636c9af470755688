"""Going on with a run: only the same one on the same machine, and no row is lost or there twice."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convsweep.results import store
from tests.support.row_factory import version_5_text, write_text
from tests.support.typed_commands import Command, typing_into

ROOT = Path(__file__).parents[2]
WORDS = ["run", "--axis", "in_channels=1,2", "--axis", "size=3", "--backend", "torch_conv",
         "--passes", "2", "--threads", "1", "--no-ceilings"]  # fmt: skip


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Type a command."""
    return typing_into(capfd, monkeypatch)


@pytest.fixture
def run(command: Command, tmp_path: Path, once: dict[str, Path]) -> Path:
    """A run that came to its end; a copy, measured once."""
    if "run" not in once:
        assert command(*WORDS, "--out", once["folder"] / "run").code == 0
        once["run"] = once["folder"] / "run"
    shutil.copytree(once["run"], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"folder": tmp_path_factory.mktemp("once")}


def contents(run_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run_dir.iterdir()}


def edit_environment(run_dir: Path, **changes: object) -> None:
    metadata = json.loads((run_dir / store.ENVIRONMENT).read_text())
    (run_dir / store.ENVIRONMENT).write_text(json.dumps(metadata | changes))


def test_a_run_that_came_to_its_end_is_only_summed_up_again(command: Command, run: Path) -> None:
    before = contents(run)
    assert command(*WORDS, "--out", run, "--resume").code == 0
    after = contents(run)
    for name in (store.MEASUREMENTS, store.SUMMARY, "samples.csv.gz"):
        assert after[name] == before[name]


def test_rows_that_are_missing_are_measured_and_no_others(command: Command, run: Path) -> None:
    path = run / store.MEASUREMENTS
    content = path.read_bytes()
    path.write_bytes(content[:-1])  # of four rows the last is torn
    assert command(*WORDS, "--out", run, "--resume").code == 0
    rows = store.load(run)
    assert path.read_bytes().startswith(b"".join(content.splitlines(keepends=True)[:4]))
    assert len(rows) == 4
    assert not rows.duplicated(["problem", "pass_index"]).any()


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (
            "in_channels=1,2",
            "in_channels=1,3",
            "problems was '--axis in_channels=1,2 --axis size=3' and is '--axis in_channels=1,3 "
            "--axis size=3' now\n",
        ),
        ("--threads 1", "--shard 1/2", "--shard was not given and is 1/2 now"),
        ("--axis size=3", "--axis=size=4", "--axis size=3' and is '--axis in_channels=1,2 "),
        ("torch_conv", "im2col", "--baseline was torch_conv and is im2col now"),
        ("torch_conv", "im2col", "--backend was torch_conv and is im2col now"),
        ("--threads 1", "--case-timeout 7s", "--case-timeout was 10 and is 7 now"),
        ("--threads 1", "--allocator system", ": --allocator was retain and is system now\n"),
        ("--threads 1", "--dtype float64", ": --dtype was float32 and is float64 now\n"),
        ("--threads 1", "--threads 2", ": --threads was 1 and is 2 now\n"),
    ],
)
def test_another_request_is_refused(
    command: Command, run: Path, before: str, now: str, expected: str
) -> None:
    files = contents(run)
    result = command(*" ".join(WORDS).replace(before, now).split(), "--out", run, "--resume")
    assert result.code == 2
    assert not result.out
    assert result.err.startswith("convsweep: can't resume: ")
    assert expected in result.err
    assert result.err.count("\n") == 1
    assert contents(run) == files


def test_a_run_is_resumed_with_more_passes(command: Command, run: Path) -> None:
    words = " ".join(WORDS).replace("--passes 2", "--passes 3").split()
    assert command(*words, "--out", run, "--resume").code == 0
    assert store.load(run)["pass_index"].nunique() == 3
    assert store.read_environment(run)["request"]["passes"] == 3


def test_another_machine_is_refused(command: Command, run: Path) -> None:
    edit_environment(run, environment_id="0123456789ab")
    before = contents(run)
    result = command(*WORDS, "--out", run, "--resume")
    assert result.code == 2
    assert "can't resume: environment_id was '0123456789ab' and is '" in result.err
    assert contents(run) == before


def test_a_run_of_the_schema_before_is_refused(command: Command, run: Path) -> None:
    write_text(run, version_5_text())
    before = contents(run)
    result = command(*WORDS, "--out", run, "--resume")
    assert result.code == 2
    assert "schema" in result.err
    assert result.err.count("\n") == 1
    assert contents(run) == before


@pytest.mark.parametrize("name", ["nothing", "empty", "other"])
def test_what_is_no_run_is_refused(command: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    result = command(*WORDS, "--out", tmp_path / name, "--resume")
    assert result.code == 2
    assert f"{str(tmp_path / name)!r} is not a run" in result.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "notes.txt", "other"]


def test_resuming_needs_a_folder(command: Command) -> None:
    result = command(*WORDS, "--resume")
    assert result.code == 2
    assert "--out" in result.err


def test_a_run_killed_at_random_moments_has_every_row_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.harness.kills", "--times", "2", "--by-command", "0"]
    done = subprocess.run(
        [*command, "--seed", "7", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    with (tmp_path / "kills.csv").open(encoding="utf-8", newline="") as file:
        kills = list(csv.DictReader(file))
    assert len(kills) >= 2
    for kill in kills:
        assert (kill["lost"], kill["doubled"], kill["samples_wrong"]) == ("0", "0", "0")
        assert int(kill["redone"]) <= 24  # the cases of a batch, here of the whole grid
