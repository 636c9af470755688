"""Fixtures of the tests of reports."""

import pytest


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    """Draw only the pictures of reports that fixtures of a module write."""
