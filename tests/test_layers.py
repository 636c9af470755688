"""The floors of the house: what each module of `convsweep` may import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import convsweep

SOURCE = Path(convsweep.__file__).parent

# Each module imports only what stands before it in its own wing, and the foundation.
FOUNDATION = (
    "problem",
    "separation",
    "quantities",
    "steadiness",
    "journal",
    "lines",
    "refusal",
    "lock",
    "rows",
    "steadiness",
    "reading",
    "store",
    "samples",
    "networks",
    "networks.rows",
    "accuracy",
    "accuracy.rows",
    "accuracy.store",
)
RUN_WING = (
    "axes",
    "workloads",
    "cook_toom",
    "layouts",
    "backend",
    "registry",
    "kernels",
    "kernels.instructions",
    "kernels.vectors",
    "kernels.compiling",
    "kernels.buffers",
    "kernels.products",
    "kernels.small_matrices",
    "kernels.winograd_tiles",
    "kernels.layouts",
    "kernels.depthwise_tile",
    "kernels.depthwise_work",
    "kernels.depthwise_padding",
    "kernels.depthwise_planes",
    "kernels.depthwise_rows",
    "kernels.depthwise_blocks",
    "kernels.depthwise",
    "kernels.winograd_phases",
    "kernels.winograd",
    "kernels.pointwise",
    "kernels.separable_bands",
    "kernels.separable",
    "kernels.direct",
    "kernels.triton_answer",
    "kernels.triton_depthwise",
    "kernels.triton_gemm",
    "engines",
    "engines.layers",
    "engines.layouts",
    "engines.cudnn",
    "engines.inductor",
    "engines.jax",
    "engines.ncnn",
    "engines.onednn",
    "engines.onnxruntime",
    "engines.openvino",
    "backends",
    "ceilings",
    "twins",
    "grid",
    "inputs",
    "reference",
    "memory",
    "device",
    "sampling",
    "environment",
    "hardware",
    "conditions",
    "record",
    "advice.factories",
    "networks.builders",
    "networks.timing",
    "parts",
    "admission",
    "contest",
    "worker",
    "starting",
    "child",
    "company",
    "conductor",
    "forecast",
    "shards",
    "runner",
    "resuming",
    "interrupts",
    "request",
    "pacing",
    "catalogue",
    "networks.visits",
    "cluster",
    "cluster.address",
    "cluster.probe",
    "cluster.cores",
    "cluster.pool",
    "cluster.keeper",
    "cluster.connection",
    "cluster.introductions",
    "cluster.kinds",
    "cluster.slots",
    "advice.dispatch",
    "advice.recording",
    "advice.asking",
    "accuracy.datasets",
    "accuracy.networks",
    "accuracy.training",
    "accuracy.timing",
    "accuracy.trial",
    "accuracy.process",
    "accuracy.resuming",
    "accuracy.session",
)
READ_WING = (
    "advice",
    "machines",
    "beside",
    "estimates",
    "cases",
    "roofline",
    "statistics",
    "labels",
    "noise",
    "together",
    "merged",
    "merging",
    "findings",
    "foremost",
    "skips",
    "networks.totals",
    "networks.reality",
    "depthwise",
    "depthwise.study",
    "depthwise.explanation",
    "attainment",
    "depthwise.regions",
    "depthwise.verdict",
    "depthwise.reasons",
    "answer",
    "tables",
    "best_file",
    "best",
    "compare",
    "changes",
    "export",
    "lecture",
    "lecture.pairs",
    "lecture.claims",
    "lecture.evidence",
    "lecture.words",
    "plots.style",
    "sections",
    "plots.networks",
    "networks.published",
    "networks.sums_in_words",
    "networks.reality_in_words",
    "plots.choice",
    "plots.devices",
    "plots.heatmap",
    "plots.layers",
    "plots.promise",
    "plots.sweep_panels",
    "plots.sweeps",
    "plots.crossover",
    "plots.halves",
    "plots.roofline",
    "plots.lecture",
    "exactness",
    "limit",
    "limit.field",
    "plots.families",
    "plots.tradeoff",
    "plots.winners",
    "plots.contenders",
    "plots.costs",
    "plots",
    "lecture.page",
    "depthwise.section",
    "roofline_section",
    "limit.comparisons",
    "limit.whole",
    "limit.words",
    "limit.section",
    "advice.savings",
    "advice.findings",
    "plots.model",
    "advice.layer_table",
    "advice.words",
    "accuracy.findings",
    "accuracy.words",
    "plots.pareto",
    "accuracy.report",
    "contents",
    "pages",
    "report",
)
ABOVE_BOTH = (
    "stopping",
    "recording",
    "session",
    "cluster.shares",
    "cluster.sweep",
    "cluster.session",
    "optimizing",
    "optimizing.machine",
    "optimizing.geometry",
    "optimizing.changes",
    "optimizing.occasions",
    "optimizing.layers",
    "optimizing.survey",
    "optimizing.choosing",
    "optimizing.measuring",
    "optimizing.timing",
    "optimizing.gating",
    "optimizing.report",
    "optimizing.admitting",
    "optimizing.optimize",
    "terminal",
    "options",
    "cli.requests",
    "cli.sweeping",
    "cli.cluster",
    "cli.measuring",
    "cli.reading",
    "cli.best",
    "cli.merge",
    "cli.showing",
    "cli.advise",
    "cli.optimize",
    "cli.accuracy",
    "cli",
    "__main__",
)
FACE = "__init__"  # the package itself: everyone may ask for its version


def stairs(modules: tuple[str, ...], ground: tuple[str, ...] = ()) -> dict[str, set[str]]:
    """The modules that stand below each of these, and below them all the ground."""
    return {module: {*ground, *modules[:step]} for step, module in enumerate(modules)}


BELOW = (
    stairs(FOUNDATION)
    | stairs(RUN_WING, FOUNDATION)
    | stairs(READ_WING, FOUNDATION)
    | stairs(ABOVE_BOTH, FOUNDATION + RUN_WING + READ_WING)
)

NUMBERS_ONLY = (*FOUNDATION, *READ_WING)  # none of these waits for torch
NEVER = {"bench", "pytest", "pytest_benchmark", "_pytest", "hypothesis"}


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == FACE else parts)


PATHS = {name_of(path): path for path in SOURCE.rglob("*.py")}
STRATEGIES = sorted(name for name in PATHS if name.startswith("backends."))
ENGINE_ROOMS = sorted(name for name in PATHS if name.startswith(("kernels.", "engines.")))
MODULES = sorted(set(PATHS) - set(STRATEGIES) - {FACE})


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(PATHS[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """The full name of everything that the module imports, at its head or within."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(module: str) -> set[str]:
    """The top-level packages that the module imports."""
    return {name.partition(".")[0] for name in imported(module)}


def siblings(module: str) -> set[str]:
    """The modules of convsweep that the module imports; of the package itself, nothing counts."""
    found = set()
    for name in imported(module):
        parts = name.split(".")
        if parts[0] == "convsweep":
            inner = (".".join(parts[1:end]) for end in range(len(parts), 1, -1))
            found.add(next((known for known in inner if known in PATHS), FACE))
    return found - {FACE}


def test_every_module_stands_on_a_floor() -> None:
    assert sorted(BELOW) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_stands_below_it(module: str) -> None:
    assert siblings(module) <= BELOW[module]


def test_the_store_and_the_problem_know_neither_wing() -> None:
    assert siblings("store") <= set(FOUNDATION)
    assert siblings("problem") == set()


def test_the_packages_face_imports_nothing_until_it_is_asked() -> None:
    script = (
        "import sys, convsweep;"
        "print([n for n in sys.modules if n.startswith('convsweep.') or n in ('torch', 'pandas')])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")


def test_the_command_line_waits_for_no_library_before_it_is_asked() -> None:
    script = (
        "import sys, convsweep.cli;"
        "print(sorted({'torch', 'numpy', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")


@pytest.mark.parametrize("module", NUMBERS_ONLY)
def test_reading_results_never_names_torch(module: str) -> None:
    assert "torch" not in packages(module)


def test_reading_results_never_loads_torch() -> None:
    names = ["convsweep." + module for module in NUMBERS_ONLY]
    script = f"""
import sys
from importlib import import_module
for name in {names}:
    import_module(name)
    if "torch" in sys.modules:
        sys.exit(name + " loads torch")
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("module", STRATEGIES)
def test_a_strategy_knows_the_contract_and_its_own_engine_room_alone(module: str) -> None:
    rooms = {name for name in siblings(module) if name.startswith(("kernels.", "engines."))}
    assert siblings(module) - rooms <= {"backend", "problem", "separation", "cook_toom", "layouts"}


@pytest.mark.parametrize("module", ENGINE_ROOMS)
def test_an_engine_room_knows_the_contract_alone(module: str) -> None:
    rooms = {name for name in siblings(module) if name.startswith(module.partition(".")[0])}
    assert siblings(module) - rooms <= {"backend", "problem", "separation", "cook_toom", "layouts"}


@pytest.mark.parametrize("module", STRATEGIES)
def test_a_strategy_neither_tells_the_time_nor_keeps_results(module: str) -> None:
    assert packages(module) & {"time", "timeit", "pandas", "csv", "matplotlib"} == set()


@pytest.mark.parametrize("module", STRATEGIES)
def test_a_strategy_exports_itself(module: str) -> None:
    targets = [
        target.id
        for node in tree(module).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert targets.count("BACKEND") == 1


@pytest.mark.parametrize("module", sorted(PATHS))
def test_ray_is_loaded_where_a_cluster_is_asked_for_alone(module: str) -> None:
    at_once = [
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in tree(module).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert "ray" not in {name.partition(".")[0] for name in at_once}
    assert "ray" not in packages(module) or module.startswith("cluster.")


@pytest.mark.parametrize("module", sorted(PATHS))
def test_only_plots_draw(module: str) -> None:
    assert "matplotlib" not in packages(module) or module.partition(".")[0] == "plots"


@pytest.mark.parametrize("module", sorted(PATHS))
def test_no_module_knows_its_tests(module: str) -> None:
    assert packages(module) & NEVER == set()


@pytest.mark.parametrize("module", sorted(PATHS))
def test_only_the_command_line_prints(module: str) -> None:
    calls = [
        node.lineno
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert not calls or module.partition(".")[0] == "cli"
