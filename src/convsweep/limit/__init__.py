"""How near own kernels come to the machine's limit: against torch, and against other engines."""
