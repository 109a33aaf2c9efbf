"""Exports: all that a tenant owns, written as it streams, handed over, and removed when it is not needed."""
