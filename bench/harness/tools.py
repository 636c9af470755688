"""Comparison of timing tools on the same pairs of layers at equal seconds, written to `tools.csv`.

    python -m bench.harness.tools --seconds 5:8 --seconds 60:3 --out results/harness

Every round runs every tool once on every set of pairs and for each number of seconds, in random
order. Started rounds are completed.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import product
from pathlib import Path

import click

from bench.harness.pairs import LAYERS, PAIR_SETS
from bench.harness.timing_tools import TOOLS, Tool, ToolRun, allowance, run_tool
from convsweep.measure.outcome import utc_now
from convsweep.problems.problem import ConvProblem
from convsweep.system.environment import describe
from convsweep.system.processor import cpu_name

FILE, ENVIRONMENT = "tools.csv", "environment.json"

COLUMNS = (
    "round",
    "tool",
    "version",
    "commit",
    "started_at",
    "pairs",
    "seconds",
    "run_s",
    "timing_share",
    "timing_and_warm_up_share",
    "pair",
    "standard_s",
    "separable_s",
    "speedup",
    "ci_low",
    "ci_high",
)


def compare(
    tools: Sequence[Tool],
    pair_sets: Mapping[str, Sequence[ConvProblem]],
    out: Path,
    *,
    rounds: Mapping[float, int],
    seed: int = 0,
    keep: Path | None = None,
    echo: Callable[[str], None] = lambda line: None,
) -> None:
    """Run the missing part of the rounds; append the rows of each tool run.

    `rounds` is the number of rounds per number of seconds. Runs of convsweep are copied to `keep`.

    Raises:
        ValueError: the file in `out` has other columns.
    """
    out.mkdir(parents=True, exist_ok=True)
    done = _done(out / FILE)
    environment = describe({"cpu": cpu_name()})
    _write_environment(environment, tools, out)
    shortest: dict[tuple[str, str], ToolRun] = {}
    for round_index in range(max(rounds.values())):
        jobs = list(product(tools, pair_sets, rounds))
        random.Random(f"{seed} {round_index}").shuffle(jobs)
        for tool, name, seconds in jobs:
            key = (round_index, tool.name, name, seconds)
            if round_index >= rounds[seconds] or seconds < tool.least_s or key in done:
                continue
            pairs = pair_sets[name]
            if tool.shortest and (tool.name, name) not in shortest:
                # The first start may be slow.
                two = [run_tool(tool, pairs, tool.shortest) for _ in range(2)]
                shortest[tool.name, name] = min(two, key=lambda tool_run: tool_run.run_s)
            least = shortest.get((tool.name, name))
            allowed = allowance(least, seconds, len(LAYERS) * len(pairs))
            head = {
                "round": round_index,
                "tool": tool.name,
                "version": version(tool.package),
                "commit": environment["commit"],
                "started_at": utc_now(),
                "pairs": name,
                "seconds": seconds,
            }
            folder = f"{tool.name.replace(', ', '-')}-{name}-{seconds:g}s-{round_index}"
            tool_run = run_tool(tool, pairs, tool.options(allowed), keep and keep / folder)
            _append(out / FILE, _rows(head, tool_run))
            echo(
                f"round {round_index + 1} of {rounds[seconds]}: {tool.name}, {name}, "
                f"{seconds:g} s asked, {tool_run.run_s:.1f} s taken, "
                f"{len(tool_run.answers)} answers"
            )


def _rows(head: dict[str, object], tool_run: ToolRun) -> list[dict[str, object]]:
    whole = {**head, "run_s": tool_run.run_s, **tool_run.shares}
    return [
        {**whole, "pair": pair, **answer._asdict()} for pair, answer in tool_run.answers.items()
    ]


def _append(path: Path, rows: Iterable[dict[str, object]]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def _done(path: Path) -> set[tuple[int, str, str, float]]:
    """Return round, tool, set of pairs and seconds of the runs that have rows."""
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{str(path)!r} has the columns of another version; move it away")
        return {
            (int(row["round"]), row["tool"], row["pairs"], float(row["seconds"])) for row in reader
        }


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
            "options": tool.effort,
        }
        for tool in tools
    }
    path.write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def _rounds(seconds: Sequence[str], rounds: int) -> dict[float, int]:
    """Return the number of rounds per number of seconds; `5:8` has its own."""
    found = {}
    for text in seconds:
        asked, _, own = text.partition(":")
        if not (re.fullmatch(r"\d+(\.\d+)?(:\d+)?", text) and float(asked) and int(own or rounds)):
            raise click.UsageError(f"--seconds {text}: allowed are seconds, or SECONDS:ROUNDS")
        found[float(asked)] = int(own or rounds)
    return found


@click.command()
@click.option(
    "--seconds", metavar="S[:N]", multiple=True, default=("10",), show_default=True,
    help="Seconds per run of a tool, and the number of rounds with them. Repeatable.",
)  # fmt: skip
@click.option(
    "--pairs", metavar="SET", multiple=True, default=("mobilenet",), show_default=True,
    type=click.Choice([*PAIR_SETS]), help="Set of pairs: mobilenet or convbench. Repeatable.",
)  # fmt: skip
@click.option("--rounds", metavar="N", type=click.IntRange(1), default=8, show_default=True)
@click.option("--out", metavar="DIR", type=Path, default=Path("results/harness"))
@click.option(
    "--seed", metavar="N", type=int, default=0, help="Seed of the random order within a round."
)
@click.option(
    "--keep",
    metavar="DIR",
    type=Path,
    help="Copy convsweep's runs there, for bench.harness.recorded.",
)
@click.option(
    "--without",
    metavar="TOOL",
    multiple=True,
    type=click.Choice([tool.name for tool in TOOLS]),
    help="Tool to leave out, for example a slow one. Repeatable.",
)
def main(
    seconds: tuple[str, ...], pairs: tuple[str, ...], rounds: int, out: Path, seed: int,
    keep: Path | None, without: tuple[str, ...],
) -> None:  # fmt: skip
    """Compare timing tools on the same pairs of layers at equal seconds."""
    tools = [tool for tool in TOOLS if tool.name not in without]
    pair_sets = {name: PAIR_SETS[name]() for name in pairs}
    try:
        compare(
            tools, pair_sets, out, rounds=_rounds(seconds, rounds), seed=seed, keep=keep,
            echo=click.echo,
        )  # fmt: skip
    except ValueError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
