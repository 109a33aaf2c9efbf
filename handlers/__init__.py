"""Everything that touches the world: bus, HTTP, command line, stores, adapters."""
