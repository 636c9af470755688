"""This machine: devices, clocks, process set-up, fork server and signals."""
