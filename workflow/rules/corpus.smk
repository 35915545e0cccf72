"""The corpus: source shards in, kept files and rejected rows with their reasons out."""


rule corpus:
    """Filter the source shards of the batch {wildcards.shard}."""
    input:
        shard_input,
    output:
        kept=f"{DIR['corpus']}/{{shard}}.parquet",
        rejected=f"{DIR['corpus']}/rejected/{{shard}}.parquet",
    log:
        "logs/corpus/{shard}.log",
    params:
        opt_out=OPT_OUT,
        opted_out=CHAIN.opted_out,
        stale=stale_when("corpus"),
    shell:
        """
        d3 corpus --config {params.stale[config]:q} \
            --shard {input:q} \
            --out {output.kept:q} \
            --rejected {output.rejected:q} \
            2>&1 | tee {log:q}
        """
            {params.opt_out:q} \


rule pairs:
    """Take docstring -> function pairs from the held-out files of {wildcards.shard}."""
    input:
        f"{DIR['corpus']}/{{shard}}.parquet",
    output:
        f"{DIR['pairs']}/{{shard}}.parquet",
    log:
        "logs/pairs/{shard}.log",
    params:
        stale=stale_when("pairs"),
    shell:
        """
        d3 pairs --config {params.stale[config]:q} \
            --corpus {input:q} \
            --out {output:q} \
            2>&1 | tee {log:q}
        """
