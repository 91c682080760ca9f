"""Long jobs: they go on where they were, after a stop, a crash or an error."""
