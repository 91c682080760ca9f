"""A project with tenants: the queue is in the public schema, the notes are in that of each tenant."""
