"""Where source files come from: shards, folders and checkouts, each read as rows of The Stack."""
