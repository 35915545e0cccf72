"""The stages that make the dataset, one module a stage."""
