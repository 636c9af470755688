"""This machine: devices, clocks, process setup, fork server and signals."""
