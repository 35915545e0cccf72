"""Take repositories, users and files out of every result."""
