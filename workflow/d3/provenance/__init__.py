"""What decided a result: statements, digests, environments."""
