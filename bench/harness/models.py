"""Outcomes of `advise` and `optimize` on the models of `tests/support/odd_models.py`.

    python -m bench.harness.models --budget 5s --out models.csv

Each command runs in a process of its own and must end with a table, or with one line that says why
there is none: no traceback, nothing of the model's own on stdout, and exit code 0, 1 or 2.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click

from bench.harness.timing_tools import ROOT
from tests.support import odd_models

COMMANDS = ("advise", "optimize")
_LIMIT_S = 180.0
_LEAKED = re.compile(r"^(raw|made|child|x{50})$", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """One command on one model."""

    command: str
    model: str
    exit_code: int
    outcome: str
    """measured, refused, traceback, leaked (to stdout), warned or hung."""
    right: bool
    seconds: float
    text: str
    """The line of a refusal; else the first one of the answer."""


def end(command: str, name: str, budget: str) -> Ended:
    """Run one command on one model."""
    shapes = [word for shape in odd_models.MODELS[name].inputs for word in ("--input", shape)]
    spec = f"{Path(odd_models.__file__)}:models.{name}"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="models-") as folder:
        words = [command, spec, *shapes, "--budget", budget, "--out", f"{folder}/run"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "convsweep", *words],
                capture_output=True, text=True, errors="replace", cwd=folder, timeout=_LIMIT_S,
                stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}"},
            )  # fmt: skip
            code, out, err = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired:
            code, out, err = -1, "", "hung"
    outcome = _outcome(code, out, err)
    wanted = ("measured",) if odd_models.MODELS[name].measured else ("refused", "unmeasured")
    if command == "optimize":  # some convolutions can be measured and not replaced
        wanted = ("measured", "refused", "unmeasured")
    lines = [line for line in (err if code == 2 else out).splitlines() if line.strip()]
    text = (lines or [""])[-1 if code == 2 else 0]
    taken = round(time.monotonic() - started, 1)
    return Ended(command, name, code, outcome, outcome in wanted, taken, text)


def _outcome(code: int, out: str, err: str) -> str:
    if code == -1:
        return "hung"
    if "Traceback" in err + out:
        return "traceback"
    if _LEAKED.search(out):
        return "leaked"
    if "Warning" in err:
        return "warned"
    if code == 2:
        return "refused" if err.count("convsweep:") == 1 and not out else "half"
    if code not in (0, 1):
        return f"exit {code}"
    if not out.strip():
        return "silent"
    return (
        "measured"
        if re.search(r"\d (µs|ms|ns|s)\b|per call run on|Results:", out)
        else "unmeasured"
    )


@click.command()
@click.option("--budget", default="5s", help="Of each command.")
@click.option("--only", default="", help="Regular expression of models.")
@click.option("--command", "commands", multiple=True, type=click.Choice(COMMANDS))
@click.option("--out", type=click.Path(path_type=Path), help="CSV file for all outcomes.")
def main(budget: str, only: str, commands: tuple[str, ...], out: Path | None) -> None:
    """Print a line per wrong outcome, and the number of each."""
    ended = []
    for command in commands or COMMANDS:
        for name in filter(re.compile(only).search, odd_models.MODELS):
            ended.append(one := end(command, name, budget))
            mark = "      " if one.right else "WRONG "
            print(f"{mark}{command} {name}: {one.exit_code} {one.outcome} {one.seconds} s: "  # noqa: T201
                  f"{one.text[:150]}", flush=True)  # fmt: skip
    for (command, outcome), number in sorted(
        Counter((x.command, x.outcome) for x in ended).items()
    ):
        print(f"{command}: {outcome}: {number}")  # noqa: T201
    if out is not None:
        with out.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Ended)])
            writer.writeheader()
            writer.writerows(map(asdict, ended))


if __name__ == "__main__":
    main()
