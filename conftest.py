"""Options of the bench suites; `pytest --benchmark-only` is about them, plain `pytest` is not."""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `pytest --benchmark-only` times; each but the grid may be repeated."""
    group = parser.getgroup("convsweep", "what the bench suites time")
    group.addoption("--grid", help="a named grid (default: quick, and MobileNet's layers)")
    for option, default in (
        ("--backend", "no family"),
        ("--device", "cpu"),
        ("--dtype", "float32"),
    ):
        group.addoption(option, action="append", default=[], help=f"default: {default}")


@pytest.hookimpl(tryfirst=True)  # before the bench suites read the same options
def pytest_configure(config: pytest.Config) -> None:
    """Turn to the bench suites, and refuse a wrong request in a line before anything is timed."""
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
