"""Perform one claimed job, decide its outcome, and settle it."""
