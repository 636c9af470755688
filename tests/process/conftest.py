"""Fixtures of the tests with real processes."""

import os

import pytest

from tests.support import faulty_backends as outside


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = outside.install(tmp_path_factory.mktemp("site"))
    return {**os.environ, "PYTHONPATH": str(folder)}
