"""Fixtures of the tests of analysis."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

from convsweep.analysis.summary import summarize
from convsweep.results.schema import MEASUREMENTS_TABLE, Row
from convsweep.results.store import load


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory):
    """The measurements of a run that consists of these rows."""

    def measure(made: Iterable[Row]) -> pd.DataFrame:
        run_dir: Path = tmp_path_factory.mktemp("run")
        measurements = MEASUREMENTS_TABLE.open(run_dir)
        for one in made:
            measurements.append(one)
        measurements.close()
        return load(run_dir)

    return measure


@pytest.fixture(scope="module")
def summary(measure):
    """The summary of a run that consists of these rows, by backend."""

    def summary(made: Iterable[Row], **how: object) -> pd.DataFrame:
        return summarize(measure(made), **how).set_index("backend", drop=False)

    return summary
