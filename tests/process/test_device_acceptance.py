"""A device's acceptance run keeps its time, and its page says how each part ended."""

import sys
from pathlib import Path

import pytest

from bench.device.page import tables, write_page
from bench.device.parts import Part, Result, acceptance_parts, drawn_problems, run_parts

ENDINGS = {
    "good": ("print('12 passed')", "passed"),
    "bad": ("print('1 failed'); raise SystemExit(1)", "failed"),
    "no tests": ("print('3 deselected'); raise SystemExit(5)", "skipped"),
    "elsewhere": ("print('4 skipped in 0.1s')", "skipped"),
    "endless": ("import time; time.sleep(600)", "failed"),
}


def fake(name: str, code: str, share: float) -> Part:
    return Part(name, f"what {name} does", share, lambda *_: [sys.executable, "-c", code])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("acceptance")


@pytest.fixture(scope="module")
def results(out: Path) -> list[Result]:
    """Parts of which the last one never ends; the time of all is a few seconds."""
    parts = [fake(name, code, 100 * (name != "endless") + 1) for name, (code, _) in ENDINGS.items()]
    found = [*run_parts(parts[:-1], out, 60)]
    return [*found, *run_parts(parts[-1:], out, 0.5)]


def test_each_part_ends_with_its_result(results: list[Result]) -> None:
    assert {one.part.name: one.status for one in results} == {
        name: status for name, (_, status) in ENDINGS.items()
    }
    assert all(0 <= one.limit_s <= 60 for one in results)
    assert results[0].detail == "12 passed"


def test_the_page_names_every_part(results: list[Result], out: Path) -> None:
    page = write_page(results, out, ["Two lines <b>", "of text."])
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert all(f"what {name} does" in text for name in ENDINGS)
        assert "<b>" not in text
    assert len(tables(results, out)["Parts"].rows) == len(ENDINGS)


@pytest.mark.parametrize("device", ["cpu", "vulkan", "cuda:1"])
def test_every_part_has_a_command_for_the_device(device: str, tmp_path: Path) -> None:
    parts = acceptance_parts(device)
    assert len({part.name for part in parts}) == len(parts)
    for part in parts:
        command = part.command(tmp_path / part.name, 10)
        assert command[0] == sys.executable
        assert device in command or "--device" not in command


def test_three_hundred_problems_are_drawn_of_every_kind() -> None:
    problems = drawn_problems()
    assert len({*problems}) == 300
    assert {problem.rank for problem in problems} == {1, 2, 3}
    assert drawn_problems() == problems
