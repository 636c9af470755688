"""Hostile names in every text of a run, and each output of the commands that read it."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from matplotlib.backends.backend_agg import RendererAgg

from convsweep.cli import main, output
from convsweep.cli.answer_table import answer
from convsweep.formatting import printable, spreadsheet_cell
from convsweep.report.build import write_report
from convsweep.report.export import export
from convsweep.report.table import Table
from convsweep.results import store
from convsweep.results.schema import Row
from tests.support import row_factory, synthetic_runs
from tests.support.hostile_names import NAMES

BACKENDS = NAMES[::7]
FEW = ("[red]x", "red x")  # they would share a file name


def rows() -> Iterator[Row]:
    """One layer per name, on some hostile backends; the rest of the texts are names too."""
    for place, name in enumerate(NAMES):
        problem = synthetic_runs.square(4 + place, 14, 3)
        backends = ("torch_conv", "separable", *(BACKENDS if place < 4 else ()))
        for row in synthetic_runs.rows([problem], backends=backends, passes=5):
            named = replace(row, layer=name, workload=FEW[place % len(FEW)], node=name)
            named = replace(named, backend_version=name, device_name=NAMES[3], run_id=NAMES[5])
            named = replace(named, implementation=name)
            failed = place % 3 and row.backend == "separable"
            yield replace(named, status="crash", reason=name, median_s=None) if failed else named


def renamed(value: Any) -> Any:
    """Put a name in place of each text of environment.json."""
    if isinstance(value, dict):
        return {name: renamed(one) for name, one in value.items()}
    return NAMES[len(value)] if isinstance(value, str) else value


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    environment = renamed(synthetic_runs.ENVIRONMENT) | {"baseline": "torch_conv"}
    environment |= {"warnings": [*NAMES], "named": dict(enumerate(NAMES)), "environment_id": "e0"}
    del environment["run_id"]  # of the rows
    folder = tmp_path_factory.mktemp("runs") / "\x1b[31m[red]\u202e=$x_{|`"
    folder.mkdir()
    return synthetic_runs.write(folder, rows(), environment)


@pytest.fixture(scope="module")
def drawn() -> list[str]:
    return []


@pytest.fixture(scope="module")
def report(run_dir: Path, drawn: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw: Callable[..., None] = RendererAgg.draw_text

    def noted(
        self: RendererAgg, gc: Any, x: float, y: float, s: str, *more: Any, **how: Any
    ) -> None:
        drawn.append(s)
        draw(self, gc, x, y, s, *more, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RendererAgg, "draw_text", noted)
        patch.setattr(RendererAgg, "draw_mathtext", None)
        return write_report(run_dir, tmp_path_factory.mktemp("reports")).parent


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    texts = [
        name for name in NAMES if name.isascii() or name.encode(errors="ignore").decode() == name
    ]
    made = [replace(row_factory.ROW, layer=name, reason=name, backend=name) for name in texts]
    assert row_factory.load_rows(row_factory.write(tmp_path, made)) == made


def test_figures_draw_printable_text_without_formulas(report: Path, drawn: list[str]) -> None:
    assert all(text.replace("\N{NO-BREAK SPACE}", "").isprintable() for text in drawn)
    assert "$" in "".join(drawn)


def test_each_figure_has_a_file_of_its_own(report: Path) -> None:
    shown = re.findall(r"\]\(figures/([a-z0-9_]+\.png)\)", (report / "report.md").read_text())
    assert sorted(shown) == sorted(path.name for path in (report / "figures").iterdir())
    assert len(shown) > len(FEW)


def test_markdown_shows_names_as_text(report: Path) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    assert printable(text.replace("\n", "")) == text.replace("\n", "")
    tokens = MarkdownIt().enable(["table", "strikethrough"]).parse(text)
    kinds = {token.type for token in tokens}
    assert kinds.isdisjoint({"blockquote_open", "ordered_list_open", "code_block", "fence", "hr"})
    inline = [token for token in tokens if token.type == "inline"]
    parts = [part for token in inline for part in token.children or ()]
    assert {part.type for part in parts} <= {"text", "text_special", "image"}
    assert all(str(p.attrs["src"]).startswith("figures/") for p in parts if p.type == "image")
    texts = {"".join(part.content for part in token.children or ()) for token in inline}
    assert {" ".join(printable(" ".join(name.split())).split()) for name in NAMES} <= texts
    own = ("<details>", "</details>", "<summary>")
    assert all(t.content.startswith(own) for t in tokens if t.type == "html_block")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.texts: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.add(data)


def test_html_shows_names_as_text(report: Path) -> None:
    page = _Page()
    page.feed((report / "report.html").read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert not [name for _, name in page.attributes if name.startswith("on")]
    assert {name for tag, name in page.attributes if tag == "img"} == {"src", "alt"}
    assert {printable(name) for name in NAMES} <= page.texts
    assert all(printable(line) == line for text in page.texts for line in text.split("\n"))


@pytest.mark.parametrize("kind", ["exported", "best", "compare", "summary"])
def test_a_cell_of_a_derived_table_is_no_formula(
    run_dir: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "exported":
        text = export(run_dir, "csv")
    elif kind == "summary":
        store.write_table(path := run_dir / "summary.csv", store.load(run_dir))
        text = path.read_text(encoding="utf-8")
    else:
        text = command(capsys, kind, *[run_dir] * (1 + (kind == "compare")), "--format", "csv")
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    numbers = r"-?[0-9.]+(e-?\d+)?"
    assert not [c for c in cells if c.startswith(tuple("=+-@")) and not re.fullmatch(numbers, c)]
    assert all(cell.isprintable() for cell in cells)
    assert {spreadsheet_cell(name) for name in NAMES[::3]} <= {*cells} or kind == "compare"


def test_json_keeps_names(run_dir: Path) -> None:
    benchmarks = json.loads(export(run_dir, "pytest-benchmark"))["benchmarks"]
    encodable = {name.encode(errors="backslashreplace").decode() for name in NAMES}
    assert {one["params"]["layer"] for one in benchmarks} == encodable


def command(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What a command prints; each line is printable, and the command does not fail."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words)])
    assert ended.value.code in (0, None)
    printed = capsys.readouterr()
    assert all(line.isprintable() for line in (printed.out + printed.err).split("\n"))
    return printed.out


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_commands_print_names_as_text(
    run_dir: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command(capsys, "best", run_dir, "--format", form)
    command(capsys, "compare", run_dir, run_dir, "--format", form)


def test_a_table_and_lines_of_the_terminal_show_each_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_table(Table(("[head]",), [(name,) for name in NAMES]), width=400)
    head, *lines = (line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert head == "[head]"
    assert lines == [printable(name).rstrip() for name in NAMES]
    output.say(*NAMES)
    assert capsys.readouterr().out.split("\n") == [*map(printable, NAMES), ""]
    output.print_sentences(NAMES)
    assert "".join(capsys.readouterr().out.split()) == "".join(
        printable("".join(n.split(" "))) for n in NAMES
    )


def test_the_result_tables_show_names(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from convsweep.analysis.run import read_run
    from convsweep.analysis.summary import summarize

    measurements = store.load(run_dir)
    run = read_run(measurements, summarize(measurements, "torch_conv", 0.02))
    for label in run.cases["label"].unique():
        one = run._replace(cases=run.cases[run.cases["label"] == label])
        output.console().print(answer(one))
    shown = capsys.readouterr().out
    assert all(line.isprintable() for line in shown.split("\n"))
    short = [printable(name).strip() for name in NAMES if len(printable(name)) < 20]
    assert not [name for name in short if name not in shown]
