"""Reports from results: sections, figures, tables and pages. Imports no torch."""
