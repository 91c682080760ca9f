"""Python values, code, context and errors as text that a database can store, and back."""
