"""Advice on a model: its convolutions recorded, measured and compared."""
