"""Lineage: what the jobs' statements say, put together, followed, checked, compared and exported."""
