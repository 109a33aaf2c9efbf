"""One worker decides all commands of a tenant, whichever door they come in by."""
