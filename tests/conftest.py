"""Markers by folder: `process`, `compile`, `ray` and `browser` name what a test needs."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

EXAMPLES = int(os.environ.get("CONVSWEEP_EXAMPLES", "50"))
"""How many examples of a property are drawn unless its test has a number of its own."""
settings.register_profile("untimed", deadline=None, max_examples=EXAMPLES)
settings.load_profile("untimed")

_TESTS = Path(__file__).parent
_MARKERS = {"process": "process", "compile": "compile", "cluster": "ray", "browser": "browser"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_TESTS):
            folder = item.path.relative_to(_TESTS).parts[0]
            if folder in _MARKERS:
                item.add_marker(_MARKERS[folder])
