"""Length of a report: words of its page, sentences of its first screen, other runs by name only."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.harness.mutations import ending
from convsweep.analysis.model_advice import write_model
from convsweep.report.build import write_report
from convsweep.report.next_commands import not_covered
from convsweep.report.summary_text import MOST_SENTENCES, MOST_WORDS
from convsweep.results.schema import Row
from convsweep.results.store import RunFolder
from tests.support import synthetic_networks as networks
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of
from tests.support.page_words import page_words

pytestmark = pytest.mark.usefixtures("unexplored")

FEW = made.grid((16,), (14,))
REQUEST = {
    "dtypes": ["float32"], "memory_formats": ["contiguous"], "threads": [1], "caches": ["hot"],
}  # fmt: skip
ENVIRONMENT = made.ENVIRONMENT | {"request": REQUEST, "end_reason": "all_passes"}


def quick() -> list[Row]:
    return made.with_ceilings(study_of.rows(made.grid(), passes=2))


def one_network() -> list[Row]:
    """Twenty layers of a network, and those of its standard version."""
    layers = [made.square(c, s, 3) for c in (8, 16, 32, 64) for s in (7, 14, 28, 56, 112)]
    depthwise = [replace(layer, groups=layer.in_channels) for layer in layers]
    return [
        replace(row, workload=name, layer=f"blocks.{place}.conv")
        for name, own in (("net", depthwise), ("net_standard", layers))
        for place, problem in enumerate(own)
        for row in made.rows([problem], backends=study_of.PAIR, passes=2)
    ]


def settings() -> list[Row]:
    return [
        replace(row, dtype=dtype, memory_format=memory_format)
        for dtype in ("float32", "bfloat16")
        for memory_format in ("contiguous", "channels_last")
        for row in made.rows(made.grid((16, 64), (14,), (3,)), passes=2)
    ]


def failing() -> list[Row]:
    """Each status, two devices, a fully connected layer, and the longest sentences."""
    statuses = ("mismatch", "error", "crash", "out_of_memory", "timeout")
    problems = [*made.grid((4, 8, 16, 32, 64), (7, 9, 11), (3,)), made.square(64, 3, 3)]
    rows = made.rows(problems, passes=2) + made.rows(problems, passes=2, device="cuda")
    return [
        replace(row, status=statuses[row.in_channels % 5], reason="why", median_s=None)
        if row.backend in ("im2col", "loop")
        else row
        for row in rows
    ]


def report(tmp_path: Path, rows: list[Row], **how: Any) -> Path:
    run = made.write(tmp_path / "run", rows, ENVIRONMENT | {"end_reason": "interrupted"})
    return write_report(run, tmp_path / "report", **how)


@pytest.mark.parametrize(
    ("rows", "visible", "total"),
    [(quick, 450, 2_500), (one_network, 600, 3_500), (settings, 600, 3_500), (failing, 600, 3_500)],
)
def test_a_page_has_few_words(
    tmp_path: Path, rows: Callable[[], list[Row]], visible: int, total: int
) -> None:
    require_few_words(report(tmp_path, rows()), visible, total)


def require_few_words(page: Path, visible: int, total: int) -> None:
    found = page_words(page)
    assert all(words <= most for words, most in zip(found, (visible, total), strict=True)), found
    text = page.with_name("report.md").read_text(encoding="utf-8")
    assert "not measured" not in text
    sentences = re.findall(r"^- (.*)$", text.partition("<details>")[0], re.MULTILINE)
    assert 1 <= len(sentences) <= MOST_SENTENCES
    assert [one for one in sentences if len(one.split()) > MOST_WORDS] == []


def test_the_command_measures_the_settings_that_a_run_does_not_cover(tmp_path: Path) -> None:
    run = made.write(tmp_path / "run", made.rows(FEW, passes=2), ENVIRONMENT)
    names, command = not_covered(RunFolder(run))
    assert names == "bfloat16, channels_last, two threads and cold caches"
    assert command.startswith("convsweep run --grid quick --passes 5 --dtype float32 --dtype bfl")
    both = REQUEST | {"dtypes": ["float32", "bfloat16"], "caches": ["hot", "cold"], "threads": [2]}
    run = made.write(tmp_path / "other", made.rows(FEW), ENVIRONMENT | {"request": both})
    names, command = not_covered(RunFolder(run))
    assert names == "channels_last"
    assert "--dtype" not in command


def test_other_runs_are_in_a_report_if_they_are_named(tmp_path: Path) -> None:
    noise = made.write(tmp_path / "noise", noise_rows(), made.ENVIRONMENT)
    rows = made.rows(FEW, passes=2, backends=("torch_conv",))
    alone = report(tmp_path, rows).read_text(encoding="utf-8")
    assert "A/A" not in alone
    named = report(tmp_path / "named", rows, others=[noise]).read_text(encoding="utf-8")
    assert "A/A test" in named
    assert "Timing noise: noise" in named


def noise_rows() -> list[Row]:
    names = ("torch_conv", "torch_conv+again", "torch_conv+5%")
    return made.rows(made.grid((16, 64), (14, 28), (3,)), backends=names, passes=6)


@pytest.mark.parametrize("other", ["absent", "run", "empty"])
def test_another_run_of_another_kind_is_refused_and_nothing_written(
    tmp_path: Path, other: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=f"--with '.*{other}'") as refusal:
        report(tmp_path, made.rows(FEW, passes=2), others=[tmp_path / other])
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    "words", ["nothing", "skipped", "whole --with nothing", "whole --with whole", "absent"]
)
def test_what_cannot_be_reported_ends_with_2_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    made.write(Path("nothing"), [], made.ENVIRONMENT)
    skipped = made.rows(FEW, judge=lambda *_: ("skipped", "not here"))
    made.write(Path("skipped"), skipped, made.ENVIRONMENT)
    made.write(Path("whole"), made.rows(FEW, passes=2), made.ENVIRONMENT)
    assert ending(["report", *words.split(), "--out", "new"]) == 2
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("names", "visible", "total"),
    [(["net", "net_standard"], 600, 3_500), ([*networks.PUBLISHED], 1_500, 9_000)],
)
def test_networks_have_a_row_each_in_few_words(
    tmp_path: Path, names: list[str], visible: int, total: int
) -> None:
    run = networks.write(tmp_path / "run", *names, passes=2)
    page = write_report(run, tmp_path / "report")
    require_few_words(page, visible, total)
    assert page.stat().st_size < 3e6
    top = page.with_name("report.md").read_text(encoding="utf-8").partition("<details>")[0]
    assert {line.split(" | ")[0] for line in top.splitlines()} >= {f"| {name}" for name in names}


def test_a_model_of_many_layers_has_few_words(tmp_path: Path) -> None:
    rows = [
        replace(row, workload="mine", layer=f"features.stage{place}.convolution")
        for place in range(60)
        for row in made.rows([made.square(8 + place, 9, 3)], backends=study_of.PAIR, passes=2)
    ]
    run = made.write(tmp_path / "run", rows, ENVIRONMENT)
    assert write_model(RunFolder(run), {}) is not None
    require_few_words(write_report(run, tmp_path / "report"), 600, 3_500)
