"""Standard layers against their separable replacements: the study, and what it says."""
