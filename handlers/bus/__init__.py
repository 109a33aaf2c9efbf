"""Doors on the bus."""
