"""Built-in strategies. Each file exports one `BACKEND`, or several as the tuple `BACKENDS`."""
