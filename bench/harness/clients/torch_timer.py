"""torch.utils.benchmark on the pairs; writes seconds per layer as JSON."""

from __future__ import annotations

import json
import sys
from itertools import cycle
from pathlib import Path
from statistics import median
from time import perf_counter

from torch.utils.benchmark import Timer

from bench.harness.layers import make_layer
from bench.harness.pairs import LAYERS, requested_pairs

LONGEST_S = 0.2
"""`min_run_time` that blocked_autorange has by default."""


def main(out: str, seconds: str) -> None:
    """Repeat blocked_autorange over all pairs until `seconds` have passed, once at least."""
    end = perf_counter() + float(seconds)
    pairs = requested_pairs()
    timers = {
        (pair.label, layer): Timer("call()", globals={"call": make_layer(pair, layer)})
        for pair in pairs
        for layer in LAYERS
    }
    run_time = min(LONGEST_S, float(seconds) / len(timers))
    samples: dict[str, dict[str, list[float]]] = {}
    for place, pair in enumerate(cycle(pairs)):
        if place >= len(pairs) and perf_counter() + len(LAYERS) * run_time > end:
            break
        for layer in LAYERS:
            measured = timers[pair.label, layer].blocked_autorange(min_run_time=run_time)
            samples.setdefault(pair.label, {}).setdefault(layer, []).extend(measured.times)
    median_s = {
        pair: {layer: median(times) for layer, times in layers.items()}
        for pair, layers in samples.items()
    }
    Path(out).write_text(json.dumps(median_s), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
