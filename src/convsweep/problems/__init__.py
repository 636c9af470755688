"""Convolution problems: shapes, axes, grids, cases, workloads and the networks behind them."""
