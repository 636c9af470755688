"""Files of a run: schema, checksummed CSV, samples, environment and lock. Imports no torch."""
