"""Pictures of cubes, learning, maps and reconciliations."""
