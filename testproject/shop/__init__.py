"""A small real shop; its background work is what delayed jobs were invented for."""
