"""The durable door: TENANT_COMMANDS, read by partition, in order, from where PostgreSQL says."""
