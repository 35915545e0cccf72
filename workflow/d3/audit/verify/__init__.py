"""Verify that results are what their statements say."""
