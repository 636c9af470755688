"""Overhead of one run over no-op cases, measured in this process.

    python -m bench.harness.noop_sweep CASES FOLDER

Prints one row of overhead.csv as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter

import psutil

from convsweep.measure.sampling import MeasurementConfig
from convsweep.results import store
from convsweep.sweep.executor import LocalExecutor
from convsweep.sweep.request import Options, Request, read_request
from convsweep.sweep.session import run_sweep
from convsweep.sweep.worker_pool import WorkerProcess

CHANNELS = {10: (10, 1), 100: (10, 10), 1_000: (10, 100), 10_000: (100, 100)}
"""Number of cases: number of values of in_channels and of out_channels."""

_MINIMAL_EFFORT = MeasurementConfig(
    warm_up_s=1e-6, block_s=1e-6, blocks=1, case_s=1e-6, clock_share=1, discard_s=0
)
_SAMPLE_INTERVAL_S = 0.5


@dataclass(frozen=True)
class Footprint:
    """Current memory and file descriptors of a process."""

    rss_bytes: int
    descriptors: int


@dataclass
class Watch:
    """Times of rows and footprints of the processes; watching is timed apart."""

    rows: int = 0
    first_row_s: float = 0.0
    last_row_s: float = 0.0
    watching_s: float = 0.0
    parent: list[Footprint] = field(default_factory=list)
    child: list[Footprint] = field(default_factory=list)
    _sampled_s: float = 0.0

    def row(self, total: int) -> None:
        """Record one more row of `total`."""
        now = perf_counter()
        self.rows += 1
        if self.rows == 1:
            self.first_row_s = now
        if self.rows in (1, total) or now - self._sampled_s > _SAMPLE_INTERVAL_S:
            self._sample()
            self._sampled_s = perf_counter()
            self.watching_s += self._sampled_s - now
        self.last_row_s = perf_counter()

    def _sample(self) -> None:
        this = psutil.Process()
        self.parent.append(_footprint(this))
        children = this.children(recursive=True)
        if children:  # the newest is the worker; others are the fork server and its tracker
            self.child.append(_footprint(max(children, key=psutil.Process.create_time)))


def _peak_bytes() -> int | None:
    """Return the peak resident memory of this process, or None if unknown."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def _footprint(process: psutil.Process) -> Footprint:
    return Footprint(process.memory_info().rss, process.num_fds())


def noop_request(cases: int) -> Request:
    """Return a request of distinct 1x1 problems of one pixel on `torch_conv`."""
    ins, outs = CHANNELS[cases]
    axes = (f"in_channels=1:{ins}:+1", f"out_channels=1:{outs}:+1", "size=1", "kernel_size=1")
    return read_request(Options(axes=axes, backends=("torch_conv",), passes=1, ceilings=False))


def _run_sweep(request: Request, out: Path, on_row: Callable[[], None]) -> None:
    """Run the sweep as the command line does, with minimal timing."""
    executor = LocalExecutor(
        request, lambda settings: WorkerProcess(replace(settings, effort=_MINIMAL_EFFORT))
    )
    run_sweep(executor, out, out.name, "bench.harness.noop_sweep", lambda progress: on_row())


def measure(cases: int, out: Path) -> dict[str, float | int | None]:
    """Return one row of `overhead.csv`."""
    request, watch = noop_request(cases), Watch()
    started = perf_counter()
    _run_sweep(request, out, lambda: watch.row(cases))
    ended, peak_bytes = perf_counter(), _peak_bytes()
    rows = store.load(out)
    if len(rows) != cases or set(rows["status"]) != {"ok"}:
        raise RuntimeError(f"{len(rows)} rows, {cases} expected: {sorted(set(rows['status']))}")
    timing_s = float((rows["samples"] * rows["iterations"] * rows["median_s"]).sum())
    return {
        "cases": cases,
        "wall_s": ended - started - watch.watching_s,
        "start_s": watch.first_row_s - started,
        "sweep_s": watch.last_row_s - watch.first_row_s - watch.watching_s,
        "summary_s": ended - watch.last_row_s,
        "timing_s": timing_s,
        "parent_peak_bytes": peak_bytes,
        **_footprint_columns("parent", watch.parent),
        **_footprint_columns("child", watch.child),
    }


def _footprint_columns(name: str, footprints: list[Footprint]) -> dict[str, int | None]:
    """Return first, last and largest value per resource; None without footprints."""
    columns: dict[str, int | None] = {}
    for key in asdict(Footprint(0, 0)):
        values = [getattr(footprint, key) for footprint in footprints]
        columns[f"{name}_{key}_first"] = values[0] if values else None
        columns[f"{name}_{key}_last"] = values[-1] if values else None
        columns[f"{name}_{key}_most"] = max(values, default=None)
    return columns


def main(cases: str, out: str) -> None:
    """Measure one run and print its row."""
    sys.stdout.write(json.dumps(measure(int(cases), Path(out))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
