"""Built-in strategies, one per file; each exports `BACKEND` or `BACKENDS`."""
