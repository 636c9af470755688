"""torch.utils.benchmark on the pairs: seconds of each layer, as JSON, into the file named first."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from torch.utils.benchmark import Timer

from bench.harness.layers import make_layer
from bench.harness.pairs import LAYERS, requested_pairs


def main(out: str, autorange: str, *run_times: str) -> None:
    """Time all with one of Timer's autoranges; its own shortest and longest times unless told."""
    names = ("min_run_time", "max_run_time")
    options = dict(zip(names, map(float, run_times), strict=False))
    told: dict[str, dict[str, float]] = {}
    for pair in requested_pairs():
        for layer in LAYERS:
            timer = Timer("call()", globals={"call": make_layer(pair, layer)})
            measured = getattr(timer, autorange)(**options)
            told.setdefault(pair.label, {})[layer] = measured.median
    Path(out).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
