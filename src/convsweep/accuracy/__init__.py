"""What separable layers cost in accuracy: small networks trained with each, on real data."""
