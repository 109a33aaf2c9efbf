"""The bus: streams, doors of commands and queries, discovery, dead letters, the document of it all."""
