"""Synthetic runs of basic backends, algorithms, own kernels and engines over memory formats."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from convsweep.analysis.run import Run, read_run
from convsweep.analysis.summary import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.results.schema import Row
from convsweep.results.store import load
from tests.support.synthetic_runs import modelled_s, rows, square, write

FAMILIES = {
    "winograd": "algorithms",
    "winograd_numba": "kernels",
    "depthwise_numba": "kernels",
    "separable_numba": "kernels",
    "onnxruntime": "engines",
    "ncnn": "engines",
}
FASTER = {
    "winograd": 1.4,
    "winograd_numba": 3.0,
    "depthwise_numba": 2.0,
    "separable_numba": 1.3,
    "onnxruntime": 1.2,
    "ncnn": 1.5,
}
"""Speedup over torch_conv, by default."""
ERRORS = {"winograd": 8e-7, "winograd_numba": 2e-6}
FORMATS = ("contiguous", "channels_last")

LAYERS = {
    "conv1": (1, ConvProblem(3, 64, (56, 56), 7, stride=2, padding=3)),
    "conv2": (3, square(64, 56, 3)),
    "conv3": (4, square(128, 28, 3)),
    "pw": (2, square(128, 28, 1)),
    "dw": (2, square(128, 28, 3, groups=128)),
}


def supports(problem: ConvProblem, backend: str) -> bool:
    """Whether a synthetic backend supports a problem."""
    depthwise = problem.groups > 1
    if backend.startswith("winograd"):
        return problem.kernel_size == (3, 3) and problem.stride == (1, 1) and not depthwise
    if backend.startswith("depthwise"):
        return depthwise
    if backend.startswith("separable"):
        return problem.kernel_size == (3, 3) and not depthwise
    return True


def family_rows(
    layers: Mapping[str, tuple[int, ConvProblem]] = LAYERS,
    *,
    workload: str | None = "net",
    faster: Mapping[str, float] = FASTER,
    formats: Iterable[str] = FORMATS,
    in_format: Callable[[str, str], float] = lambda backend, form: 1.0,
    backends: Iterable[str] = ("torch_conv", "separable", *FAMILIES),
    **how: int | float,
) -> list[Row]:
    """Return the rows of a run; `in_format` is the slowdown of a backend in a format."""
    made: list[Row] = []
    for number, (layer, (count, problem)) in enumerate(layers.items()):
        for form in formats:
            found = rows(
                [problem],
                backends=backends,
                seconds=lambda p, b, d, form=form: (
                    modelled_s(p, "separable" if b.startswith("separable") else "torch_conv", d)
                    / faster.get(b, 1.0)
                    * in_format(b, form)
                ),
                judge=lambda p, b, s: ("ok", None) if supports(p, b) else ("skipped", "no kernel"),
                seed=2 * number + (form == "channels_last"),
                **how,
            )
            made += [
                replace(
                    row,
                    workload=workload,
                    layer=layer if workload else None,
                    layer_count=count,
                    memory_format=form,
                    backend_family=FAMILIES.get(row.backend, "basic"),
                    relative_err=ERRORS.get(row.backend, 2e-7) if row.status == "ok" else None,
                    peak_memory_bytes=problem.min_bytes() if row.status == "ok" else None,
                )
                for row in found
            ]
    return made


def run_of(made: Iterable[Row], folder: Path) -> Run:
    """Return the analysed run of these rows."""
    found = load(write(folder, made))
    return read_run(found, summarize(found))
