"""Unique jobs: of equal ones, one waits."""
