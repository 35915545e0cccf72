"""What every other folder builds on: these modules import nothing of the package but each other."""
