"""Per-pixel kernels."""
