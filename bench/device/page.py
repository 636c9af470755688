"""Page of a device's acceptance run, in Markdown and HTML."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd

from bench.device.parts import FAILED, LOG, Result, cases
from convsweep import formatting
from convsweep.report.table import Table
from convsweep.report.tables import escape_markdown, markdown

PAGE = "acceptance"
LARGEST_BYTES = 40 * 2**20
_MOST_ROWS = 60
_STYLE = """
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; margin: 2rem auto; max-width: 75rem;
  padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: .86rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
  border-bottom: 1px solid #d5d5d5; }
th { background: #f5f6f7; } .n { text-align: right; white-space: nowrap; }
.failed { background: #fbe3e0; } .skipped { color: #666; } td { overflow-wrap: break-word; }
pre { background: #f5f6f7; padding: .8rem; overflow-x: auto; }
"""


def sentences(
    results: Sequence[Result], device: str, description: str, seconds: float
) -> list[str]:
    """Return how many parts passed, failed and were skipped, and on what."""
    counts = {status: sum(one.status == status for one in results) for status in
              ("passed", "failed", "skipped")}  # fmt: skip
    ended = formatting.join([f"{number} {status}" for status, number in counts.items()])
    return [f"Of {formatting.count(len(results), 'part')}, {ended}, in {seconds:.0f} s.",
            f"Device: {device}, {description}."]  # fmt: skip


def tables(results: Sequence[Result], out: Path) -> dict[str, Table]:
    """Return the tables of the page by title; empty ones are left out."""
    heads = ("part", "what it runs", "result", "cases or last line", "seconds", "limit")
    parts = [(one.part.name, one.part.about, one.status, one.detail, f"{one.seconds:.1f}",
              f"{one.limit_s:.0f}") for one in results]  # fmt: skip
    runs = pd.concat([cases(one.folder).assign(part=one.part.name) for one in results])
    wrong = runs[~runs["status"].isin(("ok", "skipped", "timeout"))]
    left = runs[runs["status"].isin(("skipped", "timeout"))]
    kinds = left["reason"].where(left["status"] == "skipped", "")  # reasons of timeouts have times
    grouped = left.groupby(["part", "status", "backend", kinds.rename("kind")])["reason"]
    reasons = grouped.agg(cases="size", reason="first").reset_index().drop(columns="kind")
    smoke = runs[runs["part"] == "smoke"].pivot_table(
        "status", ["direction", "dtype"], "block", aggfunc=_counts
    )
    named = runs[(runs["part"] == "implementations") & (runs["status"] == "ok")]
    shape = ["in_channels", "kernel_size", "groups", "direction", "dtype"]
    found = {
        "Parts": Table(heads, parts, frozenset(heads[4:])),
        "Wrong cases": _of(wrong, ["part", "status", "backend", "problem", *shape[3:], "reason"]),
        "Cases without a time": _of(reasons, [*reasons.columns]),
        "Smoke": _of(smoke.fillna("left out").reset_index(), ["direction", "dtype", *smoke]),
        "Implementations": _of(named, [*shape, "implementation"]),
        "Commands": Table(
            ("part", "python"), [(r.part.name, shlex.join(r.command[1:])[:400]) for r in results]
        ),
    }
    return {title: table for title, table in found.items() if table.rows}


def _counts(statuses: pd.Series[str]) -> str:
    return ", ".join(f"{number} {status}" for status, number in statuses.value_counts().items())


def _of(frame: pd.DataFrame, columns: list[str]) -> Table:
    rows = frame[columns].astype(str).head(_MOST_ROWS)
    return Table(tuple(columns), [*rows.itertuples(index=False, name=None)])


def write_page(results: Sequence[Result], out: Path, lines: Sequence[str]) -> Path:
    """Write acceptance.md and acceptance.html; return the path of the latter."""
    found = tables(results, out)
    log = out / "environment" / LOG
    machine = log.read_text(encoding="utf-8") if log.is_file() else ""
    links = [path.relative_to(out) for path in sorted(out.glob("*/*"))
             if path.name in (LOG, "report.html")]  # fmt: skip
    title = "Acceptance run of a device"
    text = "\n".join(
        [f"# {title}\n", *(f"- {escape_markdown(line)}" for line in lines), ""]
        + [f"## {name}\n\n{markdown(table)}" for name, table in found.items()]
        + ["## Files\n", *(f"- [{link}]({link})" for link in links), ""]
        + [f"## Machine\n\n```\n{machine.strip()}\n```\n"]
    )
    (out / f"{PAGE}.md").write_text(text, encoding="utf-8")
    page = "".join(
        [f"<h1>{title}</h1><ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"]
        + [f"<h2>{escape(name)}</h2>{_html(table)}" for name, table in found.items()]
        + ["<h2>Files</h2><ul>"]
        + [f'<li><a href="{escape(str(link))}">{escape(str(link))}</a></li>' for link in links]
        + [f"</ul><h2>Machine</h2><pre>{escape(machine)}</pre>"]
    )
    path = out / f"{PAGE}.html"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    path.write_text(f"{head}<style>{_STYLE}</style><body>{page}</body></html>\n", encoding="utf-8")
    return path


def _html(table: Table) -> str:
    table = table.filled
    numbers = ['class="n"' if head in table.right else "" for head in table.heads]
    heads = "".join(f"<th>{escape(head)}</th>" for head in table.heads)
    rows = (
        f'<tr class="{FAILED if FAILED in row else ""}">'
        + "".join(f"<td {n}>{escape(t)}</td>" for t, n in zip(row, numbers, strict=True))
        for row in table.rows
    )
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"
