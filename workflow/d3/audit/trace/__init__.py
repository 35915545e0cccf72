"""Trace a number, file or row back to its sources."""
