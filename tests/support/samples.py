"""Samples of a run as a table, read as a resumed run reads them."""

from pathlib import Path

import pandas as pd

from convsweep.results.samples import SAMPLES, open_samples

_TYPES = {"row": int, "block": int, "seconds": float}


def load_samples(run_dir: Path) -> pd.DataFrame:
    """Return every sample to its last bit; none if there is no file."""
    with open_samples(run_dir / SAMPLES) as members:
        lines = [line.split(b",") for one in members for line in one.text.splitlines()]
        columns = [*zip(*lines, strict=True)] or [()] * len(_TYPES)
        kinds = zip(_TYPES.items(), columns, strict=True)
        return pd.DataFrame({name: pd.Series(map(kind, own), dtype=kind)
                             for (name, kind), own in kinds})  # fmt: skip
