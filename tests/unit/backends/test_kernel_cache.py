"""Key of the kernels' machine code: every file that the code depends on."""

from pathlib import Path

import pytest

import convsweep

compiling = pytest.importorskip(
    "convsweep.backends.kernels.compiling", reason="needs the extra numba"
)
BACKENDS = Path(convsweep.__file__).parent / "backends"


def test_the_key_covers_all_kernels_and_the_winograd_matrices() -> None:
    expected = {*(BACKENDS / "kernels").rglob("*.py"), BACKENDS / "winograd_transforms.py"}
    assert {*compiling.source_files()} == expected


def test_another_source_has_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    (tmp_path / "more.py").write_text("", encoding="utf-8")
    folder = compiling.cache_folder.__wrapped__()
    assert folder.is_relative_to(tmp_path)
    monkeypatch.setattr(compiling, "source_files", lambda: [tmp_path / "more.py"])
    assert compiling.cache_folder.__wrapped__() != folder


def test_another_width_has_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = compiling.cache_folder.__wrapped__()
    monkeypatch.setattr(compiling, "LANES", 24 - compiling.LANES)
    assert compiling.cache_folder.__wrapped__() != folder
