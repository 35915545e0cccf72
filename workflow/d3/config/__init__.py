"""The configuration: its models, how files are read, and the files generated from it."""
