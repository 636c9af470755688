"""Numbers from results: estimates, verdicts, roofline and comparisons. Imports no torch."""
