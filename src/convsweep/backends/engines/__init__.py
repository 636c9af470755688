"""Adapters to other libraries: graphs, layouts and threads."""
