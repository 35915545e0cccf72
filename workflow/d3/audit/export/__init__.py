"""Describe a run in the formats of others."""
