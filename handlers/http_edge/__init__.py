"""The HTTP edge: the same commands and queries as over NATS, for people, browsers and tenants."""
