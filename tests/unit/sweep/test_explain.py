"""Processes of `explain`: each case and pass has its own; failures become rows."""

from typing import cast

import pytest

from convsweep.measure.messages import CallParts, Explain, Message, Reply, Setup, Validate
from convsweep.measure.outcome import Outcome
from convsweep.measure.settings import Settings
from convsweep.report.call_parts import picture, tables
from convsweep.report.plots.style import drawing_style
from convsweep.results.call_parts import FIXED, KERNEL, MOVES, PARTS, UNATTRIBUTED, WHOLE
from convsweep.sweep.explain import ExplainedCase, explain, one_problem, rows
from convsweep.sweep.request import Options
from convsweep.sweep.work_queue import Progress
from convsweep.sweep.worker_pool import WorkerDied, WorkerFactory, WorkerTimeout
from tests.support.figure_texts import layout_faults

OPTIONS = Options(
    axes=("in_channels=4", "size=8", "kernel_size=3"),
    backends=("torch_conv", "im2col", "fft", "winograd", "kn2row", "pointwise"),
    passes=2,
)
SMALL = "n1_ci1_co1_i1x1_k3x3_s1x1_p1x1_d1x1_g1_b0"
FAILURES: dict[str, Exception | Outcome] = {
    "fft": WorkerDied("killed by SIGSEGV"),
    "winograd": WorkerTimeout(),
    "kn2row": Outcome("mismatch", "wrong"),
}


class FakeProcess:
    """Worker process with known replies."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.backend, self.messages = settings, "", list[Message]()
        self.is_closed = False

    def ask(self, request: Message, limit_s: float, on_slow_call: object = None) -> Reply:
        self.messages.append(request)
        if isinstance(request, Setup):
            [case] = request.cases
            self.backend = case.backend
        if isinstance(request, Explain):
            parts = {KERNEL: 6.0, FIXED: 3.0} if self.backend == "torch_conv" else {"pad": 12.0}
            return CallParts(10.0 + self.settings.pass_index, parts, 0.0, "own", SMALL)
        if isinstance(request, Validate) and (failure := FAILURES.get(self.backend)):
            if isinstance(failure, Exception):
                raise failure
            return failure
        return Outcome("ok")

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def started() -> list[FakeProcess]:
    return []


@pytest.fixture
def launch(started: list[FakeProcess]) -> WorkerFactory:
    def start(settings: Settings) -> FakeProcess:
        started.append(FakeProcess(settings))
        return started[-1]

    return cast(WorkerFactory, start)


def test_each_case_and_pass_has_a_process_until_it_fails(
    launch: WorkerFactory, started: list[FakeProcess]
) -> None:
    shown: list[Progress] = []
    found = explain(one_problem(OPTIONS), shown.append, launch)
    tried = sorted((one.settings.pass_index, one.backend) for one in started)
    first = [(0, name) for name in ("fft", "im2col", "kn2row", "torch_conv", "winograd")]
    assert tried == [*first, (1, "im2col"), (1, "torch_conv")]
    assert all(one.is_closed for one in started)
    assert [now.done for now in shown] == [*range(1, 8)]
    assert shown[-1].done == shown[-1].total
    statuses = {one.case.backend: one.outcome.status for one in found}
    assert statuses == {
        "torch_conv": "ok", "im2col": "ok", "fft": "crash", "winograd": "timeout",
        "kn2row": "mismatch", "pointwise": "skipped",
    }  # fmt: skip


def test_a_later_process_knows_the_earlier_result(
    launch: WorkerFactory, started: list[FakeProcess]
) -> None:
    explain(one_problem(OPTIONS), launch=launch)
    of = [one for one in started if one.backend == "im2col"]
    earlier = [message.earlier for one in of for message in one.messages
               if isinstance(message, Explain)]  # fmt: skip
    assert earlier == [None, CallParts(10.0, {"pad": 12.0}, 0.0, "own", SMALL)]


def test_rows_add_up_and_failures_have_a_reason(launch: WorkerFactory) -> None:
    made = rows(explain(one_problem(OPTIONS), launch=launch), "retain")
    for backend in ("torch_conv", "im2col"):
        parts = {row.part: row.seconds or 0.0 for row in made if row.backend == backend}
        assert parts[WHOLE] == 10.5
        assert sum(parts.values()) == 2 * parts[WHOLE]
        assert UNATTRIBUTED in parts
    others = [row for row in made if row.part is None]
    assert {row.backend for row in others} == {"fft", "winograd", "kn2row", "pointwise"}
    assert all(row.reason for row in others)


@pytest.mark.parametrize(
    ("parts", "unknown"),
    [
        ({KERNEL: 1.0, MOVES: 1.0, FIXED: 1.0}, set()),
        ({"gather": 1.0, FIXED: 1.0}, set()),
        ({KERNEL: 1.0, MOVES: 1.0}, {FIXED}),
        ({KERNEL: 1.0, FIXED: 1.0}, {MOVES}),
        ({FIXED: 1.0, MOVES: 1.0}, {KERNEL}),
        ({}, {KERNEL, MOVES, FIXED}),
    ],
)
def test_the_table_names_what_the_rest_contains(parts: dict[str, float], unknown: set[str]) -> None:
    [case, *_] = one_problem(OPTIONS).cases
    measured = CallParts(10.0, parts, 0.0, "own", SMALL, reorders=3)
    [table] = tables(rows([ExplainedCase(case, Outcome("ok"), [measured])], "retain")).values()
    assert {name for name in PARTS if name in table.rows[-1][-1]} == unknown


def test_table_and_figure_of_two_settings(launch: WorkerFactory) -> None:
    options = Options(
        axes=OPTIONS.axes,
        backends=OPTIONS.backends,
        memory_formats=("contiguous", "channels_last"),
        passes=2,
    )
    made = rows(explain(one_problem(options), launch=launch), "retain")
    assert len(tables(made)) == 2
    for table in tables(made).values():
        assert [row[0] for row in table.rows if not row[0].startswith(" ")] == [*OPTIONS.backends]
    with drawing_style():
        drawn = picture(made)
        assert drawn is not None
        assert not layout_faults(drawn.figure)
