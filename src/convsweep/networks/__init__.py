"""Whole networks: built, run end to end beside their isolated layers, and taken apart."""
