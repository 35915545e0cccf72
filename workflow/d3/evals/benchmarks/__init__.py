"""The benchmarks, one file each; its name is the `kind` in the configuration. `d3.evals.tasks` is their interface."""
