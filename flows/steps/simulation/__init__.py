"""An archive with known truth."""
