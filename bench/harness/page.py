"""Report of the harness benchmark, from the files of `results/harness`.

python -m bench.harness.page --run results/harness --out reports/harness
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pandas import DataFrame

from bench.harness import agreement, figures, overhead, tools
from bench.harness.pairs import short_name
from convsweep import formatting
from convsweep.report.plots.style import png
from convsweep.report.table import Table
from convsweep.report.tables import environment_table, escape_markdown

PAGE = "report.md"
MINUTE = "minute"
"""Folder of a one-minute run; its environment.json contains the time per phase."""
_TEMPLATE = "report.md.j2"


def write_page(run: Path, out: Path) -> Path:
    """Write the report of `run` and its figures to `out`; return the report's path.

    Raises:
        ValueError: `run` has no measurements.
    """
    rows = agreement.load(run / tools.FILE)
    costs = overhead.load(run / overhead.FILE)
    pictures = figures.tool_pictures(rows)
    pictures += [] if costs is None else [figures.overhead_picture(costs)]
    context = _context(run, rows, costs)
    context["pictures"] = {picture.name: picture for picture in pictures}
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (out / "figures" / f"{picture.name}.png").write_bytes(png(picture.figure))
    (out / PAGE).write_text(_template().render(context), encoding="utf-8")
    return out / PAGE


def _context(run: Path, rows: DataFrame, costs: DataFrame | None) -> dict[str, Any]:
    """Return the template's variables; None for missing measurements."""
    environment = json.loads((run / tools.ENVIRONMENT).read_text(encoding="utf-8"))
    metadata = environment.pop("tools", {})
    minute = time_spent(run / MINUTE)
    return {
        "sentences": summarize(rows),
        "tools": tool_table(rows),
        "efforts": effort_table(rows, metadata),
        "answers": answer_table(agreement.most_measured(rows)),
        "commits": formatting.join(list(map(str, rows["commit"].dropna().unique()))),
        "costs": None if costs is None else cost_table(costs),
        "cost": None if costs is None else figures.cost(costs),
        "minute": minute and minute_table(minute),
        "share": minute and timing_share(minute),
        "cpu": environment["machine"]["cpu"],
        "environment": environment_table(environment),
    }


def _template() -> Any:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["cell"] = escape_markdown
    return templates.get_template(_TEMPLATE)


def summarize(rows: DataFrame) -> list[str]:
    """Return the findings at the seconds with most rounds, most important first."""
    chosen = agreement.most_measured(rows)
    table = agreement.by_tool(chosen)
    lines = [figures.steadiness(table) + "."]
    by_name = table.set_index("tool")
    if {agreement.OURS, agreement.RIVAL} <= set(by_name.index):
        ours, rival = (
            by_name.loc[name, "p95_change"] for name in (agreement.OURS, agreement.RIVAL)
        )
        lines.append(
            f"convsweep's speedups vary {formatting.speedup(ours / rival)} as much as "
            f"{agreement.RIVAL}'s."
        )
    widest = agreement.widest_disagreement(chosen)
    lines.append(
        f"The tools disagree most on {short_name(widest.pair)}. The separable layer's speedup is "
        f"{formatting.speedup(widest.low)} with {widest.lowest} and "
        f"{formatting.speedup(widest.high)} with {widest.highest}."
    )
    covered = agreement.covering(rows[rows["tool"] == agreement.OURS]).dropna()
    if len(covered):
        lines.append(
            f"{covered.sum():.0f} of convsweep's {len(covered)} 95 % intervals "
            f"({formatting.percent(covered.mean())}) contain the median of the other runs."
        )
    return lines


def tool_table(rows: DataFrame) -> Table:
    """Return one row per set of pairs, tool and seconds: cost, changes, coverage, shares."""
    heads = (
        "pairs", "tool", "seconds asked", "taken", "runs", "answers", "median change",
        "95th percentile", "coverage", "timing", "timing + warm-up", "mean speedup",
    )  # fmt: skip
    shares = ("median_change", "p95_change", "coverage", *agreement.SHARES)
    cells = [
        (
            str(row["pairs"]),
            str(row["tool"]),
            f"{row['seconds']:g}",
            f"{row['run_s']:.1f}",
            f"{row['runs']:.0f}",
            f"{row['answers']:.0f}",
            *(formatting.percent(row[name]) for name in shares),
            formatting.speedup(row["mean_speedup"]),
        )
        for _, row in agreement.by_tool(rows).iterrows()
    ]
    return Table(heads, cells, frozenset(heads[2:]))


def effort_table(rows: DataFrame, metadata: dict[str, dict[str, str]]) -> Table:
    """Return one row per tool: its version, its statistic and how it takes the seconds asked."""
    columns = ("version", "statistic", "options")
    cells = [
        (name, *(metadata.get(name, {}).get(column, "") for column in columns))
        for name in agreement.tool_names(rows)
    ]
    return Table(("tool", *columns), cells, frozenset())


def answer_table(rows: DataFrame) -> Table:
    """Return median speedups: one row per pair, one column per tool."""
    speedups = agreement.answers(rows)
    names = tuple(map(str, speedups.columns))
    cells = [
        (short_name(str(pair)), *map(formatting.speedup, row)) for pair, row in speedups.iterrows()
    ]
    return Table(("layer", *names), cells, frozenset(names))


def cost_table(costs: DataFrame) -> Table:
    """Return one row per number of cases: times and resources of the processes."""
    heads = (
        "cases", "run", "timing", "until the first row", "summary",
        "overhead per further case", "overhead per case", "memory gain of the worker",
        "of the parent until the last row", "of the parent in the summary",
        "descriptors of the parent (first, most)", "descriptors of the worker (first, most)",
    )  # fmt: skip
    cells = [
        (
            f"{row['cases']:,.0f}",
            *(formatting.seconds(row[name]) for name in (
                "wall_s", "timing_s", "start_s", "summary_s", "further_case_s", "whole_case_s")),
            *(formatting.size_in_bytes(row[f"{name}_gains_bytes"])
              for name in ("child", "parent", "summary")),
            *(_first_and_most(row, f"{name}_descriptors") for name in ("parent", "child")),
        )
        for _, row in costs.iterrows()
    ]  # fmt: skip
    return Table(heads, cells, frozenset(heads))


def _first_and_most(row: Any, name: str) -> str:
    return f"{row[f'{name}_first']:.0f}, {row[f'{name}_most']:.0f}"


def time_spent(run_dir: Path) -> dict[str, float] | None:
    """Return the recorded seconds per phase of a run, or None."""
    path = run_dir / "environment.json"
    if not path.is_file():
        return None
    spent = json.loads(path.read_text(encoding="utf-8")).get("time_spent")
    return spent if spent and spent.get("wall_s") else None


def timing_share(spent: dict[str, float]) -> str:
    """Return a sentence: the share of timing and warm-up in the run time."""
    useful_s = spent["timing_s"] + spent["warm_up_s"]
    started_s = spent["wall_s"] - spent.get("start_s", 0.0)
    return (
        f"{formatting.percent(useful_s / started_s)} of the time after the processes' start was "
        f"timing or warming up, {formatting.percent(useful_s / spent['wall_s'])} of all."
    )


def minute_table(spent: dict[str, float]) -> Table:
    """Return one row per phase of the run, and the remainder."""
    parts = {name: value for name, value in spent.items() if name != "wall_s"}
    parts.setdefault("other_s", spent["wall_s"] - sum(parts.values()))
    rows = [
        (
            name.removesuffix("_s").replace("_", " "),
            formatting.seconds(value),
            formatting.percent(value / spent["wall_s"]),
        )
        for name, value in {**parts, "wall_s": spent["wall_s"]}.items()
    ]
    return Table(("part", "time", "share"), rows, frozenset(("time", "share")))


@click.command()
@click.option("--run", metavar="DIR", type=Path, default=Path("results/harness"))
@click.option("--out", metavar="DIR", type=Path, default=Path("reports/harness"))
def main(run: Path, out: Path) -> None:
    """Write the report of the harness benchmark."""
    try:
        click.echo(f"Report: {write_page(run, out)}")
    except ValueError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
