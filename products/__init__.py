"""What each product is, and the pure computation that makes it."""
