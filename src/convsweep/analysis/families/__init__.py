"""Analysis of the backend families: algorithms, kernels and engines."""
