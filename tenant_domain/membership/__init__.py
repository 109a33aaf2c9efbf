"""A membership: one user, or one invited address, in one tenant."""
