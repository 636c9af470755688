import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.report.build import write_report
from convsweep.report.table import Table
from convsweep.report.tables import MOST_PROBLEMS, escape_markdown, merge_reasons
from convsweep.results.schema import Row
from tests.support import synthetic_runs as made

SMALL = made.grid((4, 16, 64), (7, 14), (1, 3))
HOSTILE = '<script>alert(1)</script> | [x](http://e.vil) \n `*_ & "quoted"'


pytestmark = pytest.mark.usefixtures("no_figures")


def report(tmp_path: Path, rows: list[Row]) -> tuple[str, str, Path]:
    """The Markdown, the HTML and the folder of the report on `rows`."""
    run_dir = made.write(tmp_path / "run", rows, made.ENVIRONMENT)
    page = write_report(run_dir, tmp_path / "out")
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    return markdown, page.read_text(encoding="utf-8"), page.parent


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """The report on five backends over a small grid."""
    return report(tmp_path_factory.mktemp("usual"), made.rows(SMALL, noise=1e-3))


def headings(markdown: str) -> list[str]:
    return re.findall(r"^<summary><b>(.*)</b></summary>$", markdown, re.MULTILINE)


def overview(markdown: str) -> str:
    return markdown.partition("<details>")[0]


def section(markdown: str, title: str) -> str:
    return markdown.partition(f"<summary><b>{title}</b></summary>")[2].partition("</details>")[0]


def test_the_answer_comes_first_and_the_machine_last(usual):
    markdown, html, _ = usual
    order = ["Times and speedups", "Correctness and memory", "Cases without a time",
             "Run and machine"]  # fmt: skip
    assert headings(markdown)[-4:] == order
    assert headings(markdown)[0] == "Separable layers"
    assert re.findall(r"<h2>(.*?)</h2>", html) == headings(markdown)
    assert "as fast as torch_conv in the mean" in overview(markdown)


def test_each_section_has_one_sentence_and_opens_on_demand(usual):
    markdown, html, _ = usual
    assert "<details open" not in html + markdown
    for title in headings(markdown):
        texts = [part for part in section(markdown, title).split("\n\n") if part.strip()]
        assert re.fullmatch(r"[^\n]+[.]", texts[0].strip())


def test_the_summary_has_the_counts_of_the_table(usual):
    markdown, _, _ = usual
    [sentence] = re.findall(r"^- Fastest backend of 12 problems: (.*)\.$", markdown, re.MULTILINE)
    counted = {name: int(n) for name, n in re.findall(r"(\w+) (\d+)", sentence)}
    rows = re.findall(r"^\| (\w+) \| \d+ of 12 \| (\d+) ", overview(markdown), re.MULTILINE)
    assert len(rows) == len(made.BACKENDS)
    wins = {name: int(wins) for name, wins in rows}
    named = counted.keys() & wins.keys()
    assert {name: wins[name] for name in named} == {name: counted[name] for name in named}
    assert sum(wins.values()) + counted.get("undecided", 0) == sum(counted.values()) == 12


def test_every_figure_is_a_file_a_link_and_an_inline_picture(usual):
    markdown, html, out = usual
    files = sorted(path.name for path in (out / "figures").iterdir())
    linked = re.findall(r"^!\[(.{20,})\]\(figures/(\S+)\)$", markdown, re.MULTILINE)
    assert sorted(name for _, name in linked) == files
    inline = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]{20,})">', html)
    assert len(inline) == len(files) == 5
    images = {(out / "figures" / name).read_bytes() for name in files}
    assert {base64.b64decode(data) for data, _ in inline} == images


@pytest.mark.usefixtures("unexplored")
def test_warnings_are_in_the_section_on_the_machine(tmp_path):
    environment = {"warnings": ["The clock can't be read.", "<b>Other</b> work | is running."]}
    run_dir = made.write(tmp_path / "run", made.rows(SMALL[:4]), environment)
    page = write_report(run_dir, tmp_path / "out")
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    assert "| warning | The clock can't be read. |" in section(markdown, "Run and machine")
    html = page.read_text(encoding="utf-8")
    assert "&lt;b&gt;Other&lt;/b&gt; work | is running.</td>" in html


def test_rows_missing_from_a_finished_run_are_counted_and_nothing_is_written(tmp_path):
    rows = made.rows(SMALL[:4])
    environment = made.ENVIRONMENT | {"request": {}, "end_reason": "all_passes", "rows": len(rows)}
    run_dir = made.write(tmp_path / "run", rows[:-3], environment)
    with pytest.raises(ValueError, match=f"has {len(rows) - 3} rows, but {len(rows)}"):
        write_report(run_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_problem_is_a_row_with_a_cell_per_backend(usual):
    markdown, _, _ = usual
    rows = re.findall(r"^\| C.*$", section(markdown, "Times and speedups"), re.MULTILINE)
    assert len(rows) == len(SMALL)
    assert {row.count("|") for row in rows} == {len(made.BACKENDS) + 2}
    assert sum(row.count(" - ") for row in rows) == 12  # skipped


@pytest.mark.usefixtures("unexplored")
def test_of_many_problems_the_slowest_are_shown(tmp_path):
    problems = [made.square(c, 14, 3) for c in range(4, 84)]
    markdown, _, _ = report(tmp_path, made.rows(problems, passes=1, backends=("torch_conv",)))
    shown = re.findall(r"^\| C(\d+) ", section(markdown, "Times and speedups"), re.MULTILINE)
    assert len(shown) == MOST_PROBLEMS
    assert "C83" in f"C{shown}".replace("'", "C")


@pytest.mark.usefixtures("unexplored")
def test_all_cases_without_a_time_are_counted_by_reason(tmp_path):
    rows = made.rows(made.grid())
    markdown, _, _ = report(tmp_path, rows)
    absent = section(markdown, "Cases without a time")
    counts = re.findall(r"\| (\d+) \| C\d+ [^|]*\|$", absent, re.MULTILINE)
    assert sum(map(int, counts)) == len({(r.problem, r.backend) for r in rows if r.status != "ok"})
    assert "needs groups=1, a kernel above 1" in absent
    assert re.search(r"predicted [\d.]+ to [\d.]+ s, over the limit of 10 s", absent)


def test_each_bad_status_is_reported(tmp_path):
    bad = dict(zip((4, 8, 16, 32, 64), ("mismatch", "error", "crash", "out_of_memory", "timeout"),
                   strict=True))  # fmt: skip
    rows = [
        replace(row, status=bad[row.in_channels], reason=f"why {bad[row.in_channels]}",
                median_s=None)
        if row.backend == "im2col" else row
        for row in made.rows(made.grid(bad, (14,), (3,)), passes=2)
    ]  # fmt: skip
    markdown, html, _ = report(tmp_path, rows)
    absent = section(markdown, "Cases without a time")
    tried = sum(row.status != "skipped" for row in rows) // 2
    for count in (len(bad) - 1, 1):  # failures, and those that only ran out of time
        assert f"time: {count} of {tried} cases" in overview(markdown)
    for status in bad.values():
        for text in (absent, html.split("Cases without a time")[-1]):
            assert f"why {status}" in text
            assert status.replace("_", " ") in text


def test_hostile_text_stays_text(tmp_path):
    rows = [
        replace(row, status="error", reason=HOSTILE, median_s=None, layer=HOSTILE, workload="<b>w")
        if row.backend == "im2col"
        else replace(row, layer=HOSTILE, workload="<b>w")
        for row in made.rows(SMALL[:4], passes=2)
    ]
    markdown, html, _ = report(tmp_path, rows)
    assert "<script" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    assert "<script" not in markdown
    for table in re.findall(r"(?:^\|.*\n)+", markdown, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1
    assert not re.search(r"(?<!\\)\]\(http", markdown)


def test_markdown_is_escaped_once():
    assert escape_markdown("a|b\nc") == "a\\|b c"
    assert escape_markdown("2.0x (1.9-2.1)") == "2.0x (1.9-2.1)"
    assert escape_markdown("torch_conv < 3 & 4") == "torch_conv &lt; 3 &amp; 4"


def test_one_pass_has_no_interval_and_decides_nothing(tmp_path):
    markdown, _, _ = report(tmp_path, made.rows(SMALL, passes=1))
    assert "undecided 12" in overview(markdown)
    assert not re.search(r"\dx? \(\d", markdown)
    assert "nan" not in markdown.lower().replace("resonance", "")


def test_a_run_without_any_time_is_refused_with_a_reason(tmp_path):
    rows = made.rows(SMALL, judge=lambda *_: ("skipped", "not here"))
    with pytest.raises(ValueError, match="no case with a time: 60 skipped, such as 'not here'"):
        report(tmp_path, rows)
    assert not (tmp_path / "out").exists()


def test_a_run_of_one_case_has_its_time_on_the_first_screen(tmp_path):
    markdown, _, _ = report(tmp_path, made.rows(SMALL[:1], backends=("torch_conv",)))
    assert re.search(r"^- One case, torch_conv: [\d.]+ \([\d.-]+\) µs", markdown, re.MULTILINE)


@pytest.mark.usefixtures("unexplored")
def test_what_is_missing_is_never_a_zero(tmp_path):
    rows = [
        replace(row, error_ratio=None, max_abs_err=None, peak_memory_bytes=None)
        for row in made.rows(SMALL[:4], passes=2)
    ]
    markdown, _, _ = report(tmp_path, rows)
    correctness = section(markdown, "Correctness and memory")
    assert "worst error ratio" not in correctness  # no column without a value
    assert "peak memory" not in correctness
    assert "| 0 s |" not in markdown


@pytest.mark.usefixtures("unexplored")
def test_the_baseline_is_the_runs_own(tmp_path):
    run_dir = made.write(
        tmp_path / "run", made.rows(SMALL[:4]), made.ENVIRONMENT | {"baseline": "loop"}
    )
    page = write_report(run_dir, tmp_path / "out")
    assert "mean speedup over loop" in page.read_text(encoding="utf-8")


def test_two_devices_are_separate_settings(tmp_path):
    problems = made.grid((16, 64), (14,), (3,))
    rows = made.rows(problems) + made.rows(problems, device="cuda", seed=1)
    first = overview(report(tmp_path, rows)[0])
    assert (
        re.findall(r"^- On (cpu|cuda): separable", first, re.MULTILINE)
        == ["cpu"] * 2 + ["cuda"] * 2
    )
    assert re.findall(r"^\| (cpu|cuda) \|", first, re.MULTILINE) == ["cpu", "cuda"]


def test_a_network_is_reported(tmp_path):
    markdown, _, _ = report(tmp_path, made.network())
    assert re.search(r"^\| mobilenet_small \|", overview(markdown), re.MULTILINE)


def test_reasons_that_differ_in_numbers_become_one():
    assert merge_reasons(["needs k=1"]) == "needs k=1"
    assert merge_reasons(["12 s, over 10 s", "3.5 s, over 10 s"]) == "3.5 to 12 s, over 10 s"


def test_columns_without_a_value_are_left_out():
    table = Table(("a", "b", "c"), [("1", "", "-"), ("2", "", "3")], frozenset("bc"))
    assert table.filled.heads == ("a", "c")
    assert table.filled.rows == [("1", "-"), ("2", "3")]
    assert Table(("a", "b"), []).filled == Table(("a", "b"), [])


@pytest.mark.usefixtures("unexplored")
@pytest.mark.parametrize("processor", [{}, {"instruction_set": "AVX2", "l3_bytes": 2**25}])
def test_machine_and_day_are_named(tmp_path, processor):
    environment = made.ENVIRONMENT | {"processor": processor}
    rows = made.rows(SMALL[:2], passes=2)
    page = write_report(made.write(tmp_path / "run", rows, environment), tmp_path / "out")
    machine = section(page.with_name("report.md").read_text(), "Run and machine")
    described = "AMD EPYC 7B13" + (", AVX2, 32.0 MiB L3" if processor else "")
    assert f"| machine | {described} |" in machine
    assert "| measured | 2026-11-22 |" in machine
