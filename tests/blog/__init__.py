"""A blog for the tests, with models and jobs of every kind."""
