"""Folder of a run: each file is read once."""

from pathlib import Path

from convsweep.results import store
from convsweep.results.metadata import Use, select
from convsweep.results.store import RunFolder
from tests.support.row_factory import ROW, write


def test_each_file_is_read_once(tmp_path: Path) -> None:
    folder = RunFolder(write(tmp_path, [ROW]))
    assert folder.measurements is folder.measurements
    (tmp_path / store.MEASUREMENTS).unlink()
    assert len(folder.measurements) == 1
    assert folder.networks.empty
    assert folder.environment == {}


def test_a_nested_key_is_used_as_the_one_that_contains_it() -> None:
    metadata = {"settings": {"seed": 0, "block_s": 1, "cores": [1]}, "model": {"name": "x"}}
    assert select(metadata, Use.COMPARE) == {"settings.block_s": 1, "settings.cores": [1]}
    assert select(metadata, Use.MERGE, Use.PER_MACHINE) == {
        "settings.seed": 0,
        "settings.block_s": 1,
    }
