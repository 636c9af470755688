"""What the terminal says while a sweep runs, and before it does."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from convsweep import Backend, terminal
from convsweep.grid import GRIDS, cross
from convsweep.request import Options, read_request
from convsweep.runner import Progress

CASE = cross(GRIDS["smoke"].layers()[:1], ("torch_conv",))[0]
PLAIN = Backend("torch_conv", lambda problem, weights: None)
COMPILED = replace(PLAIN, compile_s=30.0)


def told(*progress: Progress, is_terminal: bool = False) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=is_terminal, width=300)
    with terminal.progress(console) as observe:
        for now in progress:
            observe(now)
    return text.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize(
    ("backend", "before", "after"),
    [
        (PLAIN, "first call of ", ""),
        (COMPILED, "compiling ", ", kept for later runs"),
        (replace(COMPILED, compiles_per_problem=True), "compiling ", ""),
    ],
)
def test_a_first_call_that_takes_long_is_told_at_once(
    backend: Backend, before: str, after: str, is_terminal: bool
) -> None:
    text = told(Progress(3, 9, CASE, 20.0, backend), is_terminal=is_terminal)
    assert f"{before}torch_conv on {CASE.problem.label}, cpu{after}" in text
    assert "3/9" in text
    assert ("kept" in text) == bool(after)


def test_other_progress_is_a_line_now_and_then() -> None:
    assert told(Progress(3, 9, CASE, 20.0)) == ""
    assert "9/9 measured, done" in told(Progress(3, 9, CASE, 20.0), Progress(9, 9, CASE, 0.0))


def test_a_plan_tells_how_much_longer_the_first_time_may_be() -> None:
    request = read_request(Options(grid="smoke", ceilings=False))
    assert terminal.plan(request, 12.0).endswith("about 12 s")
    assert terminal.plan(request, 12.0, 65.0).endswith(", up to 1 min 5 s more to compile, once")
