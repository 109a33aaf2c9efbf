"""An operation: one run of a saga, whose events are its journal."""
