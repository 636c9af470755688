"""Outcomes of `advise` and `optimize` on the models of `tests/support/odd_models.py`.

    python -m bench.harness.models --out models.csv                # without measuring layers
    python -m bench.harness.models --budget 10s --out models.csv   # with it, on an idle machine

Each command must end with an answer, or with one line that says why there is none: no traceback,
nothing of the model's own on stdout, exit code 0, 1 or 2. Without a budget, `advise` ends before it
measures, the network is timed, and `optimize` takes every layer as faster with im2col.
"""

from __future__ import annotations

import csv
import os
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click

from bench.harness.timing_tools import ROOT
from convsweep import cli
from convsweep.analysis import model_advice  # noqa: F401
from convsweep.analysis.estimates import Interval
from convsweep.backends.registry import list_backends
from convsweep.cli import terminal  # noqa: F401
from convsweep.measure.messages import TimeNetwork
from convsweep.measure.network_timing import time_network
from convsweep.models.optimize import optimize as optimizing
from convsweep.models.optimize.layer_inventory import ConvCall
from convsweep.models.optimize.selection import LayerBackend
from convsweep.system import forkserver
from convsweep.units import read_shape
from tests.support import odd_models

COMMANDS = ("advise", "optimize")
_LIMIT_S = 180
_LEAKED = re.compile(r"^(raw|made|child|x{50})$", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """One command on one model."""

    command: str
    model: str
    exit_code: int
    """Minus the signal that ended the process; 14: the limit of three minutes."""
    outcome: str
    """answered, refused, or what is wrong."""
    right: bool
    seconds: float
    text: str
    """The line of a refusal; else the first one of the answer."""


def end(command: str, name: str, budget: str | None) -> Ended:
    """Run one command on one model in a forked process."""
    model, started = odd_models.MODELS[name], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="models-") as folder:
        files = [Path(folder) / stream for stream in ("out", "err")]
        code = _forked(lambda: _run(command, name, budget, folder), files)
        out, err = (path.read_text(errors="replace") for path in files)
    outcome = _outcome(code, out, err)
    wanted = ("answered",) if model.measured and command == "advise" else ("answered", "refused")
    if not model.measured and command == "advise":
        wanted = ("refused",)
    lines = [line for line in (err if code == 2 else out).splitlines() if line.strip()]
    text = (lines or [""])[-1 if code == 2 else 0].replace(f"{ROOT}/", "")
    taken = round(time.monotonic() - started, 1)
    return Ended(command, name, code, outcome, outcome in wanted, taken, text)


def _forked(work: Callable[[], None], files: list[Path]) -> int:
    """Run `work` in a process with these files as stdout and stderr; return its exit code."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 70
    try:
        signal.alarm(_LIMIT_S)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(files, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        work()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(command: str, name: str, budget: str | None, folder: str) -> None:
    """Run the command; ends in `SystemExit`."""
    spec = f"{Path(odd_models.__file__)}:models.{name}"
    shapes = [word for shape in odd_models.MODELS[name].inputs for word in ("--input", shape)]
    words = [command, spec, *shapes]
    if budget is not None:
        cli.main([*words, "--budget", budget, "--out", f"{folder}/run"])
    forkserver.start = lambda: None  # nothing is measured in a process of its own
    if command == "optimize":
        optimizing.selection.select = _im2col
        optimizing.MEASURE_S = optimizing.optimize.__kwdefaults__["measure_s"] = 0.01
        cli.main([*words, "--from", str(ROOT / "results/reference"), "--across-machines"])
    try:
        cli.main([*words, "--budget", "1ms", "--out", f"{folder}/run"])
    except SystemExit:
        sys.stderr.flush()
        if "less than one pass" not in Path(folder, "err").read_text(errors="replace"):
            raise
    inputs = [read_shape(shape) for shape in odd_models.MODELS[name].inputs]
    try:
        times = time_network(TimeNetwork(spec, inputs, "cpu", "float32", "contiguous", 0.001))
        print(f"recorded, and timed in {len(times.parts)} parts")  # noqa: T201
    except ValueError as error:
        print(f"recorded, not timed: {error}")  # noqa: T201
    sys.exit(0)


def _im2col(table: object, layer: ConvCall, threads: int) -> LayerBackend | str:
    if not layer.memory_formats:
        return "is a view"
    return LayerBackend("im2col", layer.memory_formats[0], 1e-5, Interval(2.0, 1.9, 2.1))


def _outcome(code: int, out: str, err: str) -> str:
    """Return `answered`, `refused`, or what is wrong."""
    if "Traceback" in err + out:
        return "traceback"
    if _LEAKED.search(out):
        return "leaked to stdout"
    if "Warning" in err:
        return "a library's warning"
    if code == 2:
        return "refused" if err.count("convsweep: ") == 1 and not out else "half refused"
    if code not in (0, 1) or not out.strip():
        return f"exit code {code}" if out.strip() else "silent"
    return "answered"


@click.command()
@click.option("--budget", help="Of each command; by default no layer is measured.")
@click.option("--only", default="", help="Regular expression of models.")
@click.option("--command", "commands", multiple=True, type=click.Choice(COMMANDS))
@click.option("--out", type=click.Path(path_type=Path), help="CSV file for all outcomes.")
def main(budget: str | None, only: str, commands: tuple[str, ...], out: Path | None) -> None:
    """Print a line per command, and the number of each outcome."""
    list_backends()  # imported once, before the forks
    ended = []
    for command in commands or COMMANDS:
        for name in filter(re.compile(only).search, odd_models.MODELS):
            ended.append(one := end(command, name, budget))
            mark = "" if one.right else "WRONG "
            line = f"{mark}{command} {name}: {one.exit_code} {one.outcome}: {one.text[:150]}"
            print(line, flush=True)  # noqa: T201
    for outcome, number in sorted(Counter((x.command, x.outcome) for x in ended).items()):
        print(*outcome, number)  # noqa: T201
    if out is not None:
        with out.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Ended)])
            writer.writeheader()
            writer.writerows(map(asdict, ended))


if __name__ == "__main__":
    main()
