"""A subdomain: who holds it. Uniqueness is a stream, so it needs no lock and has a history."""
