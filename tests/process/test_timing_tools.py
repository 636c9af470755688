"""Timing tools at equal seconds: every tool runs, and rounds are gone on with."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.harness import agreement, page, timing_tools, tools
from bench.harness.pairs import PAIRS, convbench_pairs, short_name
from bench.harness.timing_tools import TOOLS, Allowance, Answer, Tool, ToolRun, allowance, run_tool
from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import is_replaceable
from convsweep.problems.workloads import read_problems

TINY = ConvProblem(2, 3, (4, 4), 3, stride=2, padding=1)


def test_the_pairs_are_problems_that_convsweep_reads(tmp_path: Path) -> None:
    timing_tools.write_problems(PAIRS, tmp_path / "pairs.csv")
    assert [layer.problem for layer in read_problems(tmp_path / "pairs.csv").layers] == list(PAIRS)
    assert short_name(PAIRS[3].label) == "128 → 256, 28x28, stride 2"


def test_pairs_of_convbench_are_always_the_same_and_have_a_separable_twin() -> None:
    drawn = convbench_pairs()
    assert drawn == convbench_pairs()
    assert len({pair.label for pair in drawn}) == len(PAIRS)
    assert all(is_replaceable(pair) for pair in drawn)


LEAST: Mapping[str, tuple[str, ...]] = {
    "convsweep": ("--passes", "2", "--no-ceilings"),
    "convsweep, system": ("--passes", "2", "--no-ceilings", "--allocator", "system"),
}


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_tool_answers(tool: Tool) -> None:
    tool_run = run_tool(tool, [TINY], tool.shortest or LEAST[tool.name])
    [(pair, answer)] = tool_run.answers.items()
    assert pair == TINY.label
    assert answer.standard_s > 0
    assert answer.separable_s > 0
    assert answer.speedup > 0
    assert (answer.ci_low is not None) == (tool.package == "convsweep")
    assert bool(tool_run.shares) == (tool.package == "convsweep")
    assert all(0 < share < 1 for share in tool_run.shares.values())


def test_a_run_without_time_for_a_case_has_no_answers_and_is_kept(tmp_path: Path) -> None:
    spent = {"start_s": 1.0, "reference_s": 3.0, "wall_s": 5.0}
    code = f"""
import os
os.mkdir("run")
open("run/environment.json", "w").write({json.dumps({"time_spent": spent})!r})
exit(1)
"""
    [convsweep] = [tool for tool in TOOLS if tool.name == "convsweep"]
    cut_off = replace(convsweep, command=("-c", code))
    tool_run = run_tool(cut_off, [TINY], (), tmp_path / "kept")
    assert not tool_run.answers
    assert set(tool_run.shares.values()) == {0.0}
    assert (tmp_path / "kept" / "environment.json").is_file()


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tool_is_given_what_its_shortest_run_leaves(tool: Tool) -> None:
    answers = {TINY.label: Answer(0.3, 0.2, 1.5)}
    shortest = None if tool.shortest is None else ToolRun(answers, 4.0, {})
    allowed = allowance(shortest, 10.0, 2)
    assert allowed.seconds == (10.0 if tool.shortest is None else 6.0)
    words = " ".join(tool.options(allowed))
    expected = {"pytest-benchmark": "max-time=3", "torch blocked": "6", "pyperf": "values=13"}
    assert expected.get(tool.name, "--budget 10s") in words
    too_short = allowance(ToolRun(answers, 12.0, {}), 10.0, 2)
    assert too_short.seconds == 0
    assert tool.options(too_short)


def stub(name: str, code: str) -> Tool:
    """A tool that is a line of Python."""
    [read] = [tool.read for tool in TOOLS if tool.name == "torch blocked"]
    return Tool(name, "torch", "median", ("-c", code), "", lambda allowed: (), read)


WRITES_OUTPUT = """
import json, os
seconds = {os.environ["HARNESS_PAIRS"]: {"standard": 6.0, "separable": 2.0}}
json.dump(seconds, open("output.json", "w"))
"""


def test_a_round_that_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    one, other = stub("one", WRITES_OUTPUT), stub("other", WRITES_OUTPUT)
    pairs = {"mobilenet": [TINY]}
    tools.compare([one], pairs, tmp_path, rounds={1: 2})
    log: list[str] = []
    tools.compare([one, other], pairs, tmp_path, rounds={1: 2, 2: 1}, echo=log.append)
    rows = agreement.load(tmp_path / tools.FILE)
    assert len(log) == 2 + 2
    found = sorted(zip(rows["seconds"], rows["round"], rows["tool"], strict=True))
    assert found == [
        (seconds, index, name)
        for seconds, count in ((1, 2), (2, 1))
        for index in range(count)
        for name in ("one", "other")
    ]
    assert set(rows["speedup"]) == {3.0}
    environment = json.loads((tmp_path / tools.ENVIRONMENT).read_text())
    assert set(environment["tools"]) == {"one", "other"}


def test_a_tool_that_fails_says_so_and_leaves_no_row(tmp_path: Path) -> None:
    broken = stub("broken", "exit('no such thing')")
    with pytest.raises(RuntimeError, match=r"(?s)broken failed.*no such thing"):
        tools.compare([broken], {"mobilenet": [TINY]}, tmp_path, rounds={1: 1})
    assert not (tmp_path / tools.FILE).exists()


def test_a_tool_gets_the_seconds_that_the_faster_of_two_shortest_runs_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    shortest_s = iter((6.0, 2.0))

    def run(tool: Tool, pairs: object, options: tuple[str, ...], kept: object = None) -> ToolRun:
        run_s = next(shortest_s) if options == tool.shortest else 1.0
        return ToolRun({TINY.label: Answer(0.3, 0.2, 1.5)}, run_s, {})

    def options(allowed: Allowance) -> tuple[str, ...]:
        given.append(allowed.seconds)
        return ()

    monkeypatch.setattr(tools, "run_tool", run)
    tool = replace(stub("one", ""), shortest=("least",), options=options)
    tools.compare([tool], {"mobilenet": [TINY]}, tmp_path, rounds={10: 3})
    assert given == [8.0, 8.0, 8.0]


def test_rows_of_another_version_are_not_added_to(tmp_path: Path) -> None:
    (tmp_path / tools.FILE).write_text("round,tool\n0,torch\n")
    with pytest.raises(ValueError, match=r"tools\.csv"):
        tools.compare([], {}, tmp_path, rounds={1: 1})
    with pytest.raises(ValueError, match=r"tools\.csv"):
        page.write_page(tmp_path, tmp_path / "report")
    assert [path.name for path in tmp_path.iterdir()] == [tools.FILE]


@pytest.mark.parametrize("text", ["0", "-5", "5:0", "x", "5:x", "nan"])
def test_seconds_and_rounds_are_positive(text: str) -> None:
    done = CliRunner().invoke(tools.main, ["--seconds", text])
    assert done.exit_code == 2
    assert text in done.stderr.splitlines()[-1]
