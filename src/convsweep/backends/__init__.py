"""The built-in strategies, one a file; each exports `BACKEND`."""
