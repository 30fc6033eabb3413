"""One module per sender of events: what it posts, how it signs, what its words mean."""
