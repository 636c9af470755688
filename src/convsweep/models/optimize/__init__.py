"""Optimization of a model: its convolutions replaced by the fastest valid backends."""
