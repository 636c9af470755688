"""Fixtures of the tests of sweeps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from convsweep.problems.workloads import PROBLEM_COLUMNS
from convsweep.system import devices as device


@pytest.fixture
def only_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "device_names", lambda: ["cpu"])


@pytest.fixture
def problems_csv(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: str) -> Path:
        path = tmp_path / "my layers.csv"
        path.write_text("\n".join([",".join(PROBLEM_COLUMNS), *rows]) + "\n")
        return path

    return write
