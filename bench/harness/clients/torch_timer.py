"""torch.utils.benchmark on the pairs; writes seconds per layer as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from torch.utils.benchmark import Timer

from bench.harness.layers import make_layer
from bench.harness.pairs import LAYERS, requested_pairs


def main(out: str, autorange: str, *run_times: str) -> None:
    """Time all layers with a method of Timer; `run_times` are its min and max."""
    names = ("min_run_time", "max_run_time")
    options = dict(zip(names, map(float, run_times), strict=False))
    median_s: dict[str, dict[str, float]] = {}
    for pair in requested_pairs():
        for layer in LAYERS:
            timer = Timer("call()", globals={"call": make_layer(pair, layer)})
            measured = getattr(timer, autorange)(**options)
            median_s.setdefault(pair.label, {})[layer] = measured.median
    Path(out).write_text(json.dumps(median_s), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
