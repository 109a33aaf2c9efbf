"""The way of committed events to TENANT_EVENTS, and of what was given up to TENANT_DEAD_LETTERS."""
