"""Convolution backends: contract, registry, strategies, and the kernels and engines behind them."""
