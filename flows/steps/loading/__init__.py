"""Pixels of scenes and rasters onto the grid of a tile, and the manifest of what was read."""
