"""The request page: sign in, ask for a product with its plan in sight, follow it, take it away."""
