"""Options of the bench suites, which run with `pytest --benchmark-only`."""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose cases; all but --grid may be repeated."""
    group = parser.getgroup("convsweep", "cases of the bench suites")
    group.addoption("--grid", help="named grid (default: quick, and MobileNet's layers)")
    for option, default in (
        ("--backend", "the basic family"),
        ("--device", "cpu"),
        ("--dtype", "float32"),
    ):
        group.addoption(option, action="append", default=[], help=f"default: {default}")


@pytest.hookimpl(tryfirst=True)  # before the bench suites read the same options
def pytest_configure(config: pytest.Config) -> None:
    """Collect the bench suites; report an invalid request in one line before timing."""
    if not config.getoption("benchmark_only"):
        return
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args = [str(_ROOT / "bench")]
    from convsweep.sweep.request import Options, read_request

    options = Options(
        grid=config.getoption("--grid"),
        backends=config.getoption("--backend"),
        devices=config.getoption("--device"),
        dtypes=config.getoption("--dtype"),
    )
    try:
        read_request(options)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
