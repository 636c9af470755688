"""Comparison of timing tools on the same pairs of layers, written to `tools.csv`.

    python -m bench.harness.tools --rounds 8 --out results/harness

Every round runs every tool once, in random order. Started rounds are completed.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import click

from bench.harness.pairs import PAIRS
from bench.harness.timing_tools import TOOLS, Tool, ToolRun, run_tool
from convsweep.measure.outcome import utc_now
from convsweep.problems.problem import ConvProblem
from convsweep.system.devices import cpu_name
from convsweep.system.environment import describe

FILE, ENVIRONMENT = "tools.csv", "environment.json"

COLUMNS = (
    "round",
    "tool",
    "version",
    "commit",
    "started_at",
    "run_s",
    "pair",
    "standard_s",
    "separable_s",
    "speedup",
    "ci_low",
    "ci_high",
)


def compare(
    tools: Sequence[Tool],
    pairs: Sequence[ConvProblem],
    out: Path,
    *,
    rounds: int,
    seed: int = 0,
    echo: Callable[[str], None] = lambda line: None,
) -> None:
    """Run the missing part of the rounds; append the rows of each tool run."""
    out.mkdir(parents=True, exist_ok=True)
    environment = describe({"cpu": cpu_name()})
    _write_environment(environment, tools, out)
    done = _done(out / FILE)
    for round_index in range(rounds):
        order = random.Random(f"{seed} {round_index}").sample(tools, len(tools))
        for tool in (tool for tool in order if (round_index, tool.name) not in done):
            head = {
                "round": round_index,
                "tool": tool.name,
                "version": version(tool.package),
                "commit": environment["commit"],
                "started_at": utc_now(),
            }
            tool_run = run_tool(tool, pairs)
            _append(out / FILE, _rows(head, tool_run))
            echo(f"round {round_index + 1} of {rounds}: {tool.name}, {tool_run.run_s:.1f} s")


def _rows(head: dict[str, object], tool_run: ToolRun) -> list[dict[str, object]]:
    return [
        {**head, "run_s": tool_run.run_s, "pair": pair, **answer._asdict()}
        for pair, answer in tool_run.answers.items()
    ]


def _append(path: Path, rows: Iterable[dict[str, object]]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def _done(path: Path) -> set[tuple[int, str]]:
    """Return the rounds and tools that have rows."""
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {(int(row["round"]), row["tool"]) for row in csv.DictReader(file)}


def _write_environment(environment: dict[str, object], tools: Sequence[Tool], out: Path) -> None:
    """Write metadata of machine and tools; the machine's stays that of the first call."""
    path = out / ENVIRONMENT
    metadata = {"started_at": utc_now(), **environment}
    if path.exists():
        metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["tools"] = metadata.get("tools", {}) | {
        tool.name: {
            "version": version(tool.package),
            "statistic": tool.statistic,
            "options": " ".join(tool.options) or "its defaults",
        }
        for tool in tools
    }
    path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


@click.command()
@click.option("--rounds", metavar="N", type=click.IntRange(1), default=8, show_default=True)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
@click.option(
    "--seed", metavar="N", type=int, default=0, help="Seed of the random order within a round."
)
@click.option(
    "--without",
    metavar="TOOL",
    multiple=True,
    type=click.Choice([tool.name for tool in TOOLS]),
    help="Tool to leave out, for example a slow one. Repeatable.",
)
def main(rounds: int, out: Path, seed: int, without: tuple[str, ...]) -> None:
    """Compare timing tools on the same pairs of layers."""
    tools = [tool for tool in TOOLS if tool.name not in without]
    compare(tools, PAIRS, out, rounds=rounds, seed=seed, echo=click.echo)


if __name__ == "__main__":
    main()
