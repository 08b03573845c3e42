"""Neighbourhood kernels."""
