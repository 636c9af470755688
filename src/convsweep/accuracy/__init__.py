"""Accuracy of separable layers: small networks trained with each kind of layer, on real data."""
