"""Distance of the chosen tiles and bands of own kernels from the best of an exhaustive search.

    python -m bench.kernels --out results/kernel_sizes

Times what a kernel chooses and all other settings in turns, on 30 layers, on one thread. Writes
sizes.csv, a row per layer as soon as it is timed, and sizes.md. Repeating the command completes the
files. The first time on a machine also compiles: some minutes more.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import click
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.kernels.layers import KernelLayer, search_layers
from bench.kernels.settings import all_settings
from convsweep.measure.inputs import make_inputs
from convsweep.report.table import Table
from convsweep.report.tables import markdown
from convsweep.system.calibration import machine
from convsweep.system.process import fix_threads, pin, retain_memory, take_priority

BLOCK_S, LEAST_CALLS = 0.002, 2  # per setting and round, after one call that fills the caches
LEAST_ROUNDS = 4


@dataclass(frozen=True)
class Row:
    """One layer."""

    kernel: str
    problem: str
    memory_format: str
    settings: int
    rounds: int
    chosen: str
    chosen_us: float
    best: str
    best_us: float
    ratio: float
    """Time of the chosen setting / time of the best one."""
    computed_avx512: str
    """What the kernel would choose on a machine with AVX-512: computed, not measured."""


def time_in_turns(calls: Sequence[Callable[[], object]], seconds: float) -> NDArray[np.float64]:
    """Return seconds per call, (rounds, calls); in each round all take turns in random order."""
    counts, order = [], list(range(len(calls)))
    for call in calls:
        call()
        start = perf_counter()
        call()
        counts.append(max(LEAST_CALLS, round(BLOCK_S / (perf_counter() - start))))
    rounds: list[list[float]] = []
    end = perf_counter() + seconds
    while len(rounds) < LEAST_ROUNDS or perf_counter() < end:
        random.Random(len(rounds)).shuffle(order)
        times = [0.0] * len(calls)
        for place in order:
            call, count = calls[place], counts[place]
            call()
            start = perf_counter()
            for _ in range(count):
                call()
            times[place] = (perf_counter() - start) / count
        rounds.append(times)
    return np.array(rounds)


def distance(times: NDArray[np.float64]) -> float:
    """Return the time of the first setting over that of the best one.

    The fastest of many looks faster than it is. Each half of the rounds is therefore judged by the
    setting that is the fastest in the other half.
    """
    logs, ratios = np.log(times), []
    for half in (0, 1):
        best = int(np.median(logs[1 - half :: 2], axis=0).argmin())
        ratios.append(np.median(logs[half::2, 0] - logs[half::2, best]))
    return float(np.exp(np.mean(ratios)))


def measure(layer: KernelLayer, seconds: float, computed: str) -> Row:
    """Time all settings of a layer; raise `ArithmeticError` if one has another result."""
    weight_kind = "separable" if layer.kernel == "separable" else "dense"
    inputs = make_inputs(layer.problem, memory_format=layer.memory_format, weight_kind=weight_kind)
    settings = all_settings(layer)
    convs = [one.prepare(layer.problem, inputs.weights) for one in settings.values()]
    expected = torch.nn.functional.conv2d(
        inputs.x,
        inputs.weights.dense,
        inputs.weights.bias,
        layer.problem.stride,
        layer.problem.padding,
        groups=layer.problem.groups,
    )
    for name, conv in zip(settings, convs, strict=True):
        if not torch.allclose(conv(inputs.x), expected, atol=1e-3):
            raise ArithmeticError(f"{name} is wrong on {layer.problem.label}")
    times = time_in_turns([lambda conv=conv: conv(inputs.x) for conv in convs], seconds)
    medians, names = 1e6 * np.median(times, axis=0), list(settings)
    best = int(medians.argmin())
    return Row(
        layer.kernel, layer.problem.label, layer.memory_format, len(settings), len(times),
        names[0], round(medians[0], 2), names[best], round(medians[best], 2),
        round(distance(times), 4), computed,
    )  # fmt: skip


def computed_choices() -> list[str]:
    """Return what kernels would choose on a machine with AVX-512, for each layer."""
    command = [sys.executable, "-m", "bench.kernels.settings"]
    variables = os.environ | {"CONVSWEEP_LANES": "16"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def read_rows(path: Path) -> list[Row]:
    """Return the complete rows of a file."""
    if not path.exists():
        return []
    found = pd.read_csv(path).dropna()
    return [
        Row(**{str(name): value for name, value in row.items()}) for row in found.to_dict("records")
    ]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows; the file is replaced at once."""
    new = path.with_suffix(".new")
    pd.DataFrame([asdict(row) for row in rows]).to_csv(new, index=False)
    new.replace(path)


def page(rows: Sequence[Row]) -> str:
    """Return sizes.md: distances per kernel, then all layers."""
    groups = {kernel: [r.ratio for r in rows if r.kernel == kernel] for kernel in
              dict.fromkeys(row.kernel for row in rows)}  # fmt: skip
    groups["all"] = [row.ratio for row in rows]
    summary = Table(
        ("kernel", "layers", "median", "worst"),
        [(name, str(len(found)), f"{np.median(found):.3f}", f"{max(found):.3f}")
         for name, found in groups.items()],
        frozenset(("layers", "median", "worst")),
    )  # fmt: skip
    layers = Table(
        ("kernel", "problem", "format", "settings", "chosen", "µs", "best", "µs of it",
         "chosen / best", "computed for AVX-512"),
        [(r.kernel, r.problem, r.memory_format, str(r.settings), r.chosen, f"{r.chosen_us:.1f}",
          r.best, f"{r.best_us:.1f}", f"{r.ratio:.3f}", r.computed_avx512) for r in rows],
        frozenset(("settings", "µs", "µs of it", "chosen / best")),
    )  # fmt: skip
    known = "\n".join(f"- {name}: {value}" for name, value in asdict(machine()).items())
    return (
        "# Chosen sizes of own kernels against the best of all\n\n"
        "Time of the chosen setting / time of the best one, float32, batch 1, one thread. Each "
        "half of the rounds is judged by the fastest setting of the other half.\n\n"
        f"{markdown(summary)}\n{markdown(layers)}\n## Machine\n\n{known}\n"
    )


@click.command()
@click.option("--out", metavar="DIR", type=Path, required=True, help="Folder; it may have rows.")
@click.option("--seconds", metavar="N", type=float, default=5.0, help="Per layer.")
@click.option(
    "--kernel", metavar="NAME", multiple=True, help="Only these: winograd, depthwise, ..."
)
def main(out: Path, seconds: float, kernel: tuple[str, ...]) -> None:
    """Search the best tiles and bands of own kernels; write sizes.csv and sizes.md."""
    retain_memory()
    fix_threads(1)
    computed = computed_choices()
    pin(1)
    take_priority()
    out.mkdir(parents=True, exist_ok=True)
    path = out / "sizes.csv"
    rows = read_rows(path)
    done = {(row.kernel, row.problem) for row in rows}
    for layer, other in zip(search_layers(), computed, strict=True):
        if (layer.kernel, layer.problem.label) in done or layer.kernel not in (
            kernel or (layer.kernel,)
        ):
            continue
        row = measure(layer, seconds, other)
        rows.append(row)
        write_rows(path, rows)
        click.echo(f"{row.ratio:.3f}  {row.problem}: {row.chosen}; best {row.best}")
    (out / "sizes.md").write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
