"""pyperf on the pairs; started once as manager and once per worker process."""

from __future__ import annotations

import pyperf
import torch

from bench.harness.layers import make_layer
from bench.harness.pairs import LAYERS, requested_pairs


def main() -> None:
    """Run one benchmark per layer."""
    torch.set_num_threads(1)
    runner = pyperf.Runner()
    for pair in requested_pairs():
        for layer in LAYERS:
            runner.bench_func(f"{pair.label} {layer}", make_layer(pair, layer))


if __name__ == "__main__":
    main()
