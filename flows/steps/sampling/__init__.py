"""Training sets: labels onto published cells, drawn, cleaned and published as products of their own."""
