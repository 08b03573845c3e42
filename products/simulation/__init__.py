"""A coastal landscape with known truth, and how each sensor sees it."""
