"""The corpus: which source files of The Stack are kept, and why the others are not."""
