"""Import order of the packages, and what each package may import, print or draw."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import convsweep

SOURCE = Path(convsweep.__file__).parent
ORDER = (
    "formatting, units, descriptors < problems, results, system < backends, analysis "
    "< measure, report < sweep < cluster, models, accuracy < cli < __main__"
)
LEVEL = {name: i for i, group in enumerate(ORDER.split(" < ")) for name in group.split(", ")}
TORCH_FREE = ("formatting", "units", "results", "analysis", "report")
CONTRACT = (
    "backends.base",
    "backends.blocks",
    "backends.steps",
    "backends.tensor_layout",
    "backends.winograd_transforms",
    "system.calibration",
    "system.private_folder",
)
NEVER = ("bench", "tests", "pytest", "pytest_benchmark", "_pytest", "hypothesis")


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in SOURCE.rglob("*.py")}
MODULES = sorted(PATHS)


def package(module: str) -> str:
    return module.partition(".")[0]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """The full name of everything that the module imports, at its head or within functions."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def libraries(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imported(module)}


@cache
def siblings(module: str) -> frozenset[str]:
    """The modules of convsweep that the module imports; the package itself does not count."""
    found = set()
    for name in imported(module):
        first, *rest = name.split(".")
        if first == "convsweep":
            prefixes = (".".join(rest[:end]) for end in range(len(rest), 0, -1))
            found.add(next((prefix for prefix in prefixes if prefix in PATHS), ""))
    return frozenset(found - {"", module})


def test_every_package_stands_in_the_order() -> None:
    assert {package(module) for module in MODULES} - {""} == set(LEVEL)


def test_imports_lead_to_the_left_of_the_order_or_stay_in_the_package() -> None:
    edges = [(module, name) for module in MODULES if module for name in siblings(module)]
    levels = [(LEVEL[package(one)], LEVEL[package(other)], one, other) for one, other in edges]
    assert not [
        f"{one} imports {other}"
        for own, others, one, other in levels
        if others >= own and package(one) != package(other)
    ]


def test_imports_have_no_cycle() -> None:
    left = {module: set(siblings(module)) for module in MODULES if module}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert not left


@pytest.mark.parametrize(
    ("library", "packages"),
    [
        ("matplotlib", ("report.plots",)),
        ("ray", ("cluster",)),
        ("torch", tuple({*LEVEL} - {*TORCH_FREE})),
        *((name, ()) for name in NEVER),
    ],
)
def test_a_library_is_used_in_its_packages_only(library: str, packages: tuple[str, ...]) -> None:
    users = [module for module in MODULES if library in libraries(module)]
    assert not [module for module in users if not module.startswith(packages)]


def test_ray_is_imported_within_functions_only() -> None:
    for module in MODULES:
        for node in tree(module).body:
            if isinstance(node, ast.Import):
                assert "ray" not in {alias.name.partition(".")[0] for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                assert str(node.module).partition(".")[0] != "ray"


def test_measuring_takes_only_the_sample_flags_from_analysis() -> None:
    names = {
        name for module in MODULES if package(module) == "measure" for name in siblings(module)
    }
    assert {name for name in names if package(name) == "analysis"} == {"analysis.sample_flags"}


def test_one_function_of_the_command_line_prints_and_one_console() -> None:
    printing = [
        (module, node.func.id)
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "Console")
    ]
    assert printing == [("cli.output", "print")]  # names in a text are data: `output.say`


WORKSHOPS = ("backends.kernels", "backends.engines")
STRATEGIES = [name for name in MODULES if name.startswith("backends.strategies.")]


def test_strategies_kernels_and_engines_know_the_contract_only() -> None:
    for module in [name for name in MODULES if name.startswith((*WORKSHOPS, *STRATEGIES))]:
        own = WORKSHOPS if module in STRATEGIES else module.rpartition(".")[0]
        others = {name for name in siblings(module) if not name.startswith(own)}
        contract = {name for name in others if name in CONTRACT or package(name) == "problems"}
        assert others == contract, module


@pytest.mark.parametrize("module", STRATEGIES)
def test_a_strategy_exports_its_backends_and_keeps_no_time(module: str) -> None:
    targets = [
        target.id
        for node in tree(module).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert targets.count("BACKEND") + targets.count("BACKENDS") == 1
    assert not libraries(module) & {"time", "timeit", "pandas", "csv", "matplotlib"}


def loaded(script: str) -> str:
    """What a fresh interpreter prints that runs the script; it must not write to stderr."""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stderr == ""
    return found.stdout.strip()


@pytest.mark.parametrize("name", ["convsweep", "convsweep.cli"])
def test_importing_the_package_or_its_command_line_waits_for_no_library(name: str) -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'matplotlib', 'scipy'}"
    assert loaded(f"import sys, {name}; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_reading_results_and_writing_reports_never_loads_torch() -> None:
    names = ["convsweep." + name for name in MODULES if package(name) in TORCH_FREE]
    load = "import sys; from importlib import import_module; [import_module(n) for n in {}]"
    assert loaded(f"{load.format(names)}; print('torch' in sys.modules)") == "False"


def test_the_summary_in_the_terminal_loads_no_library_that_takes_a_second() -> None:
    texts = "convsweep.report.summary_text, convsweep.report.model_text"
    script = f"import sys, {texts}, convsweep.cli.terminal"
    slow = "{'matplotlib', 'scipy.stats', 'torch'}"
    assert loaded(f"{script}; print(sorted({slow} & set(sys.modules)))") == "[]"


def test_no_class_name_has_two_meanings() -> None:
    found: dict[str, list[str]] = {}
    for module in MODULES:
        for node in tree(module).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(module)
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


def test_a_file_has_at_most_300_lines() -> None:
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in PATHS.items()}
    assert {name: count for name, count in lines.items() if count > 300} == {}
