"""Fixtures of several folders of unit tests."""

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the pictures of reports empty: test_figure_layout.py lays them out and checks them."""
    monkeypatch.setattr("convsweep.report.pages.pngs", lambda figures: [b"" for _ in figures])


@pytest.fixture
def unexplored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the page to explore a run empty, a quarter of the time of a report."""
    monkeypatch.setattr("convsweep.report.build.explore.explore_page", lambda run, title: "")


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no figures of the report itself."""
    monkeypatch.setattr("convsweep.report.build.plots.figures", lambda run: [])
