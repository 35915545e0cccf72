"""Overseeing a run: what will it cost, how far is it, what does the machine lack."""
