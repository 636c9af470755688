"""Own kernels, compiled by Numba and Triton, whose imports take a second: import them late."""
