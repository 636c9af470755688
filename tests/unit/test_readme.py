"""What the README shows works: its backend is whole, its files exist, its commands are known."""

import re
from pathlib import Path

import pytest

from convsweep import Backend, ConvProblem
from convsweep.cli import cli
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import check, compute_reference

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def test_the_shown_backend_is_whole_and_right() -> None:
    [source] = [text for kind, text in BLOCKS if kind == "python" and "BACKEND =" in text]
    assert source.count("\n") < 40
    names: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), names)
    backend = names["BACKEND"]
    assert isinstance(backend, Backend)
    problem = ConvProblem(8, 6, (9, 7), 1, stride=2)
    assert backend.unsupported(problem) is None
    assert backend.unsupported(ConvProblem(8, 6, (9, 7), 3))
    inputs = make_inputs(problem)
    conv = backend.prepare(problem, inputs.weights)
    truth = compute_reference(problem, inputs)
    assert check(conv, problem, inputs, truth, backend.error_bound(problem)).reason is None


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


COMMANDS = [
    line.split("#")[0].split()[1:]
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.startswith(".venv/bin/convsweep")
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_shown_command_and_option_exists(words: list[str]) -> None:
    command = cli.commands[words[0]]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
