"""A blog for the tests: models of every kind, jobs of every temper."""
