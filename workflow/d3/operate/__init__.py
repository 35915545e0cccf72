"""Operating a run: start it, watch it, report its progress, check the machine."""
