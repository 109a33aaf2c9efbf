"""The event store: one log in PostgreSQL, one function that appends to it, and what reads it."""
