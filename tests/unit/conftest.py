"""Fixtures of several folders of unit tests."""

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures of reports empty: test_figure_layout.py lays them out and checks them."""
    monkeypatch.setattr("convsweep.report.pages.png", lambda figure: b"")
