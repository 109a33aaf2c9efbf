"""What the service uses of the world: tenant schemas, objects, keys, notices, JetStream."""
