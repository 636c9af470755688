"""Analysis of separable against standard layers."""
