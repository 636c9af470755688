"""Own kernels, compiled by Numba: a vector type, memory, and the algorithms written in them.

Nothing is imported here: Numba takes a second, and who runs none of these should not wait.
"""
