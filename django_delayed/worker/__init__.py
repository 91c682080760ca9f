"""The process that works the queue off, and the parent that looks after it."""
