"""Calibration: measured once per machine and version, kept, and equal in all processes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from convsweep.system import calibration
from convsweep.system.calibration import Machine

RATES = {name: 1e9 * (i + 1) for i, name in enumerate(calibration._RATES)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own, rates that take no time to measure, and a count of measurements."""
    monkeypatch.setattr(calibration, "private_folder", lambda: tmp_path)
    monkeypatch.setattr(calibration, "_measured_rates", lambda sizes: dict(RATES))
    calibration.machine.cache_clear()
    yield tmp_path
    calibration.machine.cache_clear()


def found_again() -> Machine:
    """What another process finds."""
    calibration.machine.cache_clear()
    return calibration.machine()


def no_measurement(sizes: Machine) -> dict[str, float]:
    raise AssertionError("measured again")


def test_it_is_measured_once_and_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = calibration.machine()
    assert first.measured_at
    assert {name: getattr(first, name) for name in RATES} == RATES
    monkeypatch.setattr(calibration, "_measured_rates", no_measurement)
    assert found_again() == first
    assert calibration.recorded() == {"calibration": asdict(first)}


def test_before_a_measurement_nothing_is_recorded() -> None:
    assert calibration.recorded() == {}


@pytest.mark.parametrize(
    "broken",
    [
        lambda content: "",
        lambda content: "[]",
        lambda content: '{"key": 1',
        lambda content: "\0",
        lambda content: json.dumps({**content, "macs_per_s": float("nan")}),
        lambda content: json.dumps({**content, "macs_per_s": -1}),
        lambda content: json.dumps({**content, "copy_bytes_per_s": "fast"}),
        lambda content: json.dumps({**content, "key": {**content["key"], "cpu": "another"}}),
    ],
)
def test_a_broken_or_foreign_file_is_measured_again(folder: Path, broken) -> None:
    first = calibration.machine()
    [path] = folder.glob("*.json")
    path.write_text(broken(json.loads(path.read_text())), encoding="utf-8")
    again = found_again()
    assert replace(again, measured_at="") == replace(first, measured_at="")
    assert json.loads(path.read_text())["key"]["cpu"] != "another"


def test_another_version_is_measured_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration.machine()
    monkeypatch.setattr(calibration, "__version__", "99")
    found_again()
    assert len([*folder.glob("*.json")]) == 2


def test_what_another_process_wrote_meanwhile_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = calibration.machine()
    [path] = folder.glob("*.json")
    content = path.read_text()
    path.unlink()
    kept = calibration._kept

    def kept_a_moment_later(path: Path) -> Machine | None:
        before = kept(path)
        path.write_text(content)
        return before

    monkeypatch.setattr(calibration, "_kept", kept_a_moment_later)
    monkeypatch.setattr(calibration, "_measured_rates", no_measurement)
    assert found_again() == first


def test_without_a_writable_folder_all_processes_have_the_same_rates(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "private_folder", lambda: folder / "a file")
    (folder / "a file").touch()
    found = calibration.machine()
    assert not found.measured_at
    assert found == found_again() == calibration._unmeasured()


@pytest.mark.parametrize(
    ("caches", "expected"),
    [
        ({}, (2**15, 2**19, 2**24)),
        ({"l1_bytes": 49152}, (49152, 2**19, 2**19)),
        ({"l1_bytes": 2**16, "l2_bytes": 2**22}, (2**16, 2**22, 2**22)),
        ({"l1_bytes": 2**15, "l2_bytes": 2**19, "l3_bytes": 2**25}, (2**15, 2**19, 2**24)),
        ({"l1_bytes": 0, "l2_bytes": 2**20, "l3_bytes": 2**20}, (2**15, 2**20, 2**20)),
    ],
)
def test_unknown_caches_have_usual_sizes(
    monkeypatch: pytest.MonkeyPatch, caches: dict[str, int], expected: tuple[int, ...]
) -> None:
    monkeypatch.setattr(calibration, "cpu_caches", lambda: caches)
    found = calibration._unmeasured()
    assert (found.l1_bytes, found.l2_bytes, found.last_cache_bytes) == expected


def test_processes_at_the_same_time_get_one_answer(tmp_path: Path) -> None:
    script = (
        "from convsweep.system import calibration, private_folder; from pathlib import Path; "
        "calibration._ROUNDS = 1; calibration._MOST_BYTES = 2**22; "
        f"calibration.private_folder = lambda: Path({str(tmp_path)!r}); "
        "print(calibration.machine())"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)
    ]
    answers = {process.communicate()[0] for process in started}
    assert len(answers) == 1
    assert b"measured_at=''" not in answers.pop()


def test_measuring_returns_positive_rates_and_restores_the_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(calibration, "_ROUNDS", 1)
    monkeypatch.setattr(calibration, "_MOST_BYTES", 2**22)
    before = torch.get_num_threads()
    rates = calibration._measured_rates(Machine())
    assert rates.keys() == RATES.keys()
    assert min(rates.values()) > 0
    assert torch.get_num_threads() == before
