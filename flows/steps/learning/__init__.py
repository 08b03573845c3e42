"""Labels, training, models and maps."""
