"""A project with tenants: the queue is in the public schema, and the notes of each tenant are in its own."""
