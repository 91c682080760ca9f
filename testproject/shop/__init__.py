"""A small shop with the kinds of background work for which delayed_job was written."""
