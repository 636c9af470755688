"""Advice on the user's own model: what its convolutions cost here, and what would cost less."""
