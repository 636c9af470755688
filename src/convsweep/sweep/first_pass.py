"""Results of the first pass that later ones use."""

from pathlib import Path

from convsweep.measure.messages import DataFile
from convsweep.problems.case import Case

_MAX_DATA_BYTES = 2**29


class FirstPassData:
    """What later passes of a run need not compute again."""

    def __init__(self) -> None:
        self.accepted: dict[Case, bytes] = {}  # outputs that passed the gate
        self.call_s: dict[Case, float | None] = {}  # seconds per call in the last pass
        self._files: dict[tuple[object, ...], DataFile] = {}
        self._room = _MAX_DATA_BYTES

    def file(self, case: Case) -> DataFile | None:
        """Return the file with inputs and reference of a case, if it is kept."""
        return self._files.get(case.data)

    def keep(self, case: Case, file: DataFile) -> None:
        """Keep a file, if it fits; delete it otherwise."""
        if file.size <= self._room:
            self._files[case.data] = file
            self._room -= file.size
        else:
            Path(file.path).unlink()
