"""The page about the harness itself, from `results/harness` alone.

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
from convsweep.report.tables import Table, environment_table, escape_markdown

PAGE = "report.md"
MINUTE = "minute"
"""The run of a minute within the results: where its time went stands in its environment.json."""
_TEMPLATE = "report.md.j2"


def write_page(run: Path, out: Path) -> Path:
    """Write page and figures of the results in `run` to `out`; give the page.

    Raises:
        ValueError: nothing was measured.
    """
    rows = agreement.load(run / tools.FILE)
    costs = overhead.load(run / overhead.FILE)
    drawn = figures.tool_pictures(rows)
    drawn += [] if costs is None else [figures.overhead_picture(costs)]
    context = _context(run, rows, costs)
    context["pictures"] = {picture.name: picture for picture in drawn}
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for picture in drawn:
        (out / "figures" / f"{picture.name}.png").write_bytes(png(picture.figure))
    (out / PAGE).write_text(_template().render(context), encoding="utf-8")
    return out / PAGE


def _context(run: Path, rows: DataFrame, costs: DataFrame | None) -> dict[str, Any]:
    """What the page tells; None stands for what was not measured."""
    environment = json.loads((run / tools.ENVIRONMENT).read_text(encoding="utf-8"))
    told = environment.pop("tools", {})
    minute = time_spent(run / MINUTE)
    return {
        "sentences": sentences(rows),
        "tools": tool_table(rows, told),
        "answers": answer_table(rows),
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


def sentences(rows: DataFrame) -> list[str]:
    """What came out, the most important first."""
    table = agreement.by_tool(rows)
    said = [figures.steadiness(table.dropna(subset="p95_change")) + "."]
    if {agreement.OURS, agreement.RIVAL} <= set(table.index):
        ratio = table.loc[agreement.OURS, "p95_change"] / table.loc[agreement.RIVAL, "p95_change"]
        said.append(f"Ours moves {formatting.digits(ratio)} times as far as {agreement.RIVAL}'s.")
    widest = agreement.widest_disagreement(rows)
    said.append(
        f"The tools disagree most on {short_name(widest.pair)}: the separable layer is "
        f"{formatting.digits(widest.low)} times as fast as the standard one by {widest.lowest}, and "
        f"{formatting.digits(widest.high)} times by {widest.highest}."
    )
    held = agreement.count_covering(rows)
    if held.intervals:
        said.append(
            f"{held.held} of convsweep's {held.intervals} intervals of 95 % "
            f"({figures.percent(held.held / held.intervals)}) hold the median of its own runs."
        )
    return said


def tool_table(rows: DataFrame, told: dict[str, dict[str, str]]) -> Table:
    """A row a tool: what it was told, what it costs, how far it moves, its mean answer."""
    numbers = ("runs", "seconds a run", "median change", "95th percentile", "mean speedup")
    cells = [
        (
            str(tool),
            told.get(str(tool), {}).get("version", ""),
            told.get(str(tool), {}).get("options", ""),
            told.get(str(tool), {}).get("statistic", ""),
            f"{row['runs']:.0f}",
            f"{row['run_s']:.1f}",
            figures.percent(row["median_change"]),
            figures.percent(row["p95_change"]),
            formatting.digits(row["mean_speedup"]),
        )
        for tool, row in agreement.by_tool(rows).iterrows()
    ]
    return Table(("tool", "version", "options", "headline", *numbers), cells, frozenset(numbers))


def answer_table(rows: DataFrame) -> Table:
    """A row a pair, a column a tool: the median speedup of its runs."""
    said = agreement.answers(rows)
    names = tuple(map(str, said.columns))
    cells = [(short_name(str(pair)), *map(formatting.digits, row)) for pair, row in said.iterrows()]
    return Table(("layer", *names), cells, frozenset(names))


def cost_table(costs: DataFrame) -> Table:
    """A row a size: seconds, and what the processes held."""
    heads = (
        "cases", "whole run", "of it timing", "until the first row", "summary at the end",
        "not timing, a further case", "not timing, a case of all", "measuring process holds more",
        "its parent, to the last row", "its parent, in the summary",
        "descriptors of the parent, first and most", "of the measuring process",
    )  # fmt: skip
    cells = [
        (
            f"{row['cases']:,.0f}",
            *(formatting.seconds(row[name]) for name in (
                "wall_s", "timing_s", "start_s", "summary_s", "further_case_s", "whole_case_s")),
            *(formatting.size_in_bytes(row[f"{name}_gains_bytes"])
              for name in ("child", "parent", "summary")),
            *(_interval(row, f"{name}_descriptors") for name in ("parent", "child")),
        )
        for _, row in costs.iterrows()
    ]  # fmt: skip
    return Table(heads, cells, frozenset(heads))


def _interval(row: Any, name: str) -> str:
    return f"{row[f'{name}_first']:.0f}, {row[f'{name}_most']:.0f}"


def time_spent(run_dir: Path) -> dict[str, float] | None:
    """Seconds by part, as the run in `run_dir` recorded them; None where it recorded none."""
    path = run_dir / "environment.json"
    if not path.is_file():
        return None
    spent = json.loads(path.read_text(encoding="utf-8")).get("time_spent")
    return spent if spent and spent.get("wall_s") else None


def timing_share(spent: dict[str, float]) -> str:
    """How much of the time after the processes' start was timing or warming up."""
    useful_s = spent["timing_s"] + spent["warm_up_s"]
    started_s = spent["wall_s"] - spent.get("start_s", 0.0)
    return (
        f"{figures.percent(useful_s / started_s)} of the time after the processes' start was "
        f"timing or warming up, {figures.percent(useful_s / spent['wall_s'])} of all."
    )


def minute_table(spent: dict[str, float]) -> Table:
    """A row a part of the run, and what is left."""
    parts = {name: value for name, value in spent.items() if name != "wall_s"}
    parts.setdefault("other_s", spent["wall_s"] - sum(parts.values()))
    rows = [
        (
            name.removesuffix("_s").replace("_", " "),
            formatting.seconds(value),
            figures.percent(value / spent["wall_s"]),
        )
        for name, value in {**parts, "wall_s": spent["wall_s"]}.items()
    ]
    return Table(("part", "time", "share"), rows, frozenset(("time", "share")))


@click.command()
@click.option("--run", metavar="DIR", type=Path, default=Path("results/harness"))
@click.option("--out", metavar="DIR", type=Path, default=Path("reports/harness"))
def main(run: Path, out: Path) -> None:
    """Write the page about the harness itself."""
    try:
        click.echo(f"Report: {write_page(run, out)}")
    except ValueError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
