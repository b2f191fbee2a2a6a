"""The second world: the same policies on an engine's clock, and the rivals' policies to compare them with."""
