"""Folder of a run: each file is read once, siblings are of the same machines."""

from pathlib import Path

from convsweep.results import store
from convsweep.results.metadata import Use, select
from convsweep.results.store import RunFolder
from tests.support.row_factory import ROW, write


def run(path: Path, environment_id: str, started_at: str) -> RunFolder:
    path.mkdir()
    store.write_environment(path, {"environment_id": environment_id, "started_at": started_at})
    return RunFolder(path)


def test_each_file_is_read_once(tmp_path: Path) -> None:
    folder = RunFolder(write(tmp_path, [ROW]))
    assert folder.measurements is folder.measurements
    (tmp_path / store.MEASUREMENTS).unlink()
    assert len(folder.measurements) == 1
    assert folder.networks.empty
    assert folder.environment == {}


def test_siblings_are_of_the_same_machine_newest_first(tmp_path: Path) -> None:
    old, new = run(tmp_path / "old", "e0", "1"), run(tmp_path / "new", "e0", "2")
    run(tmp_path / "other", "e1", "3")
    (tmp_path / "none").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / store.ENVIRONMENT).write_text("[")
    assert old.siblings() == [new, old]


def test_a_nested_key_is_used_as_the_one_that_contains_it() -> None:
    metadata = {"settings": {"seed": 0, "block_s": 1, "cores": [1]}, "model": {"name": "x"}}
    assert select(metadata, Use.COMPARE) == {"settings.block_s": 1, "settings.cores": [1]}
    assert select(metadata, Use.MERGE, Use.PER_MACHINE) == {
        "settings.seed": 0,
        "settings.block_s": 1,
    }
