"""The lineage: an index of everything that all jobs said, for `d3 trace` and for queries with DuckDB."""


# No output is declared: the index serves all runs in this folder, and Snakemake would delete it first,
# while only what is new is read.
rule lineage:
    """Bring results/lineage/index.duckdb up to date with the statements of all jobs."""
    input:
        REPORT,
    log:
        "logs/lineage.log",
    localrule: True
    shell:
        "d3 lineage 2>&1 | tee {log:q}"
