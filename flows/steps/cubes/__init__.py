"""Cells and cubes: building, publishing, opening, pinning, exporting."""
