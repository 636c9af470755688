"""Documentation: links, paths and commands exist, generated pages are current."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from convsweep import Backend, ConvProblem
from convsweep.cli import cli
from convsweep.measure.checks import check, output
from convsweep.measure.inputs import make_inputs
from convsweep.measure.reference import compute_reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXTS[page], re.DOTALL)


def anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_has_a_title_and_a_text(page: Path) -> None:
    assert re.match(r"# .+\n\n.+", TEXTS[page])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^):]+)\)", TEXTS[page]):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_source_files_exist(page: Path) -> None:
    for path in re.findall(r"`((?:\w+/)+\w+\.py)`", TEXTS[page]):
        assert (ROOT / "src/convsweep" / path).exists() or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_runs_and_reports_exist(page: Path) -> None:
    for path in re.findall(r"`((?:results|reports)/[a-z]\w*)/?`", TEXTS[page]):
        assert (ROOT / path).is_dir(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for line in "".join(blocks(page, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if not words or not words[0].endswith("convsweep"):
            continue
        command = cli.commands[words[1]]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_example_backend_is_complete_and_right() -> None:
    [source] = [text for text in blocks(ROOT / "README.md", "python") if "BACKEND =" in text]
    names: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), names)
    backend = names["BACKEND"]
    assert isinstance(backend, Backend)
    problem = ConvProblem(8, 6, (9, 7), 1, stride=2)
    assert backend.unsupported(problem) is None
    assert backend.unsupported(ConvProblem(8, 6, (9, 7), 3))
    inputs = make_inputs(problem)
    conv = backend.prepare(problem, inputs.weights)
    expected = compute_reference(problem, inputs)
    assert check(conv, inputs, output(expected, backend.error_bound(problem))).reason is None


def test_the_readme_is_short() -> None:
    assert TEXTS[ROOT / "README.md"].count("\n") <= 150


def test_generated_pages_are_current() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, page in generate.PAGES.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == page(), "run `make docs`"
