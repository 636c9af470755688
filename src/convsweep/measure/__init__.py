"""Inside a worker process: inputs, reference, correctness gate, sampling and timing."""
