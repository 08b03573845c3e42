"""The index: its tables, its scenes and cells, and the questions that are asked of it."""
